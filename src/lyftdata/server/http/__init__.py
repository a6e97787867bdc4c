"""The HTTP edge: checks of a request before its route, and helpers for responses."""
