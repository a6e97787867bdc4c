"""Confirmation by a second operator: the gate for such actions, the rules, and the requests."""
