"""Models of the admin API, one module for each noun, for validation by FastAPI and for the OpenAPI document."""
