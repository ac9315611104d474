"""Nightgate: nightly speech and vector-search benchmarks, judged with a stated confidence."""

__version__ = "0.1.0"
