"""The command line: one module for each noun, a thin layer over the HTTP API."""
