"""The command line: one file a noun, thin over the HTTP API."""
