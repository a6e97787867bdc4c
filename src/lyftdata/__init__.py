"""Machine identity: a Server that admits only Workers which prove who they are."""

__version__ = "0.1.0"
