"""Image: bytes to pixels and back.

Reads and writes no file: bytes in, pixels or bytes out. Any wing below and any filter may import it; it imports only
what stands at the top.
"""
