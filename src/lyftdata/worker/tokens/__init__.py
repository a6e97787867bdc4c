"""Gives tokens to the COMMAND, through a file and a Unix socket."""
