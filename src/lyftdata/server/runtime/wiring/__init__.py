"""Wires the Server's parts: `open_services` gives the order, and each other module builds the parts of one package."""
