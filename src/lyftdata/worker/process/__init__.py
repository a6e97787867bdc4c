"""Starts, supervises, signals and ends the COMMAND, with all processes that it started."""
