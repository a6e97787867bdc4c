"""The COMMAND: starts, supervises, signals and ends it, with all processes that it started."""
