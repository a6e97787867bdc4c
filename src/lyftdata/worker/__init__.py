"""The Worker: gets an identity, stores it, stays connected, and runs a program while the Server admits it."""
