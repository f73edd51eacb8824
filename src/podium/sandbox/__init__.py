"""Runs code nobody vouches for in a confined child process: unit tests of generated code, regular expressions."""

from podium.sandbox.box import Limits, Sandbox

__all__ = ["Limits", "Sandbox"]
