"""The Server: admission, administration, sessions, and the HTTP routes to them."""
