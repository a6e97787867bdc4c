"""The shapes of the admin API, one file a noun, for FastAPI's validation and the OpenAPI document."""
