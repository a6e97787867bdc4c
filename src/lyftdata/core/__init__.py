"""
The rules of authentication and authorization, as pure functions and frozen values.

Nothing here opens a file or a socket, reads a clock or draws a random number: bytes, keys and `now` come in,
values and errors go out. So a test can use any time and any state.
"""
