"""Chaos: faults under load, and every table held against that of a clean run. See `python -m tests.chaos --help`."""
