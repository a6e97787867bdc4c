"""Wires the Server's parts: `open_services` defines the order, and each other module builds the parts of one package."""
