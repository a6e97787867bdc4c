"""How the Server's parts are put together: `open_services` is the order of it, and each other file builds the parts of one room."""
