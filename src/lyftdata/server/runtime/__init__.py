"""What a Server is made of: its settings, its data directory, how its parts are put together, and its routine work."""
