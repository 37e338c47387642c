"""Sellerpulse measured beside its ceilings and its peers, on this machine, by one command: `python -m bench`."""
