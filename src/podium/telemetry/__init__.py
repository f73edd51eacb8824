"""OpenTelemetry: spans, metrics and evaluation events made of what was recorded, and where they are sent.

Imports nothing of OpenTelemetry itself until it is switched on; see docs/telemetry.md.
"""
