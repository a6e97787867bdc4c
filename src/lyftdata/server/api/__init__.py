"""HTTP, one file a noun: read the request, call the use case, write the answer. No rule lives here."""
