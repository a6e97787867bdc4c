"""Worker authentication: a Server lets in only the Workers that prove who they are."""

__version__ = "0.1.0"
