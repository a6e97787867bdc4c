"""Gives the COMMAND tokens: by a file, and by a Unix socket."""
