"""Sign-in of operators at an OpenID Connect issuer (docs/decisions/0039): optional, and inactive without an issuer."""
