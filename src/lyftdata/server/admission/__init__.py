"""Decides who is admitted: authenticates clients, issues and verifies tokens, enrolls Workers, and records refusals."""
