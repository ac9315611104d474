"""Two environments measured in turns: what their ratio is, and which change between two runs makes it.

side.py      what each of them does in a process of its own
measuring.py both in turns, round by round
sides.py     what the command line calls a side, and how it is started
ratio.py     what the rounds say
bisecting.py which of many changes it is
"""
