"""The Worker: gets an identity, keeps it, stays connected, and runs a program while the Server lets it."""
