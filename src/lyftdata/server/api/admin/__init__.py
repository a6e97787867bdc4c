"""The admin API, one file a noun."""
