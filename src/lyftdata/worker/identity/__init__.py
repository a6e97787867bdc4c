"""The Worker's identity: its directory, its credential, enrollment and moves to another address."""
