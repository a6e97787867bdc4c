"""Who gets in: which client a request comes from, which token it gets, and why it is rejected."""
