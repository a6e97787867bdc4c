"""The HTTP edge: what the Server reads of a request before a route sees it, and how an answer is written."""
