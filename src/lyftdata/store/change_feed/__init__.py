"""The changes of each commit, and how peers on the same database receive them."""
