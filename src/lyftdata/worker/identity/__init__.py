"""Who the Worker is: its directory, its credential, enrolling and moving to another address."""
