"""Finds what is wrong with a set-up, on the Worker's host or the Server's: `lyftdata doctor`."""
