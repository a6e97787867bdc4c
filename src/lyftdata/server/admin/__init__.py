"""What operators do and see: Workers, API keys, resources, operators, and views of them."""
