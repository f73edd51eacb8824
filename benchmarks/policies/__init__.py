"""Streams and peers of the policy table."""
