"""Finds what is wrong with a set-up, on the Worker's host: `lyftdata doctor worker`."""
