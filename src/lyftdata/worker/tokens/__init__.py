"""The tokens that the COMMAND is given: by a file, and by a Unix socket."""
