"""The changes of each commit, and how other Servers on the same database receive them."""
