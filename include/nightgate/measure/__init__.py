"""How a number is taken: clock and warm-up, estimates with intervals, a process of its own, a known host."""
