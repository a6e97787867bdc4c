"""One file a noun: how its records are read and changed."""
