"""Who is connected: held polls, when they end, and when each Worker was last here."""
