"""What a commit changed, and how other Servers on the same database learn of it."""
