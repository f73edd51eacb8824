"""A pooled HTTP/1.1 client on httptools, shared by providers and the Python client."""
