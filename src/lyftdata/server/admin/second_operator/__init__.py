"""What a second operator confirms: the gate in front of it, the rules, and the requests."""
