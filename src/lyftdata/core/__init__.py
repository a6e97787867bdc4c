"""
The rules of authentication and authorization, as pure functions and frozen values.

Nothing here opens a file or a socket, reads a clock or draws a random number: bytes, keys and `now` come in,
values and errors go out. That is what lets a test stand on any second and any state.
"""
