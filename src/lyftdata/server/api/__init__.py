"""HTTP routes, one module for each noun: they parse the request, call a use case and build the response; the rules are elsewhere."""
