"""What operators do and see: Workers, API keys, resources, operators, and the views of them."""
