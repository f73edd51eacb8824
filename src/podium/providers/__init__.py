"""Adapters that run models. The catalogue finds them by entry point."""
