"""The HTTP surface: data plane on a protocol handler, control plane on FastAPI, one port."""
