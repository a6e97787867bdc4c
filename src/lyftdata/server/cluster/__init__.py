"""Several Servers on one database: membership, messages between them, and applying each other's changes."""
