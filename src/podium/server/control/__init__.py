"""The control plane: everything the command line can do, as JSON under ``/api/v1`` with an OpenAPI document."""
