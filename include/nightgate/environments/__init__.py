"""With what a run measured, kept so that it can measure again: the versions of its packages, and its own code.

lock.py     what an environment is, and what two of them differ in
code.py     the project's own code, kept by its digest
kept.py     those that were used on this host
build.py    a folder of exactly these packages, and how to start a child in it
"""
