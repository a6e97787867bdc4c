"""Starts and runs a Server: its settings, its data directory, the wiring of its parts, and background tasks."""
