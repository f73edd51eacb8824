"""The worker of custom artifacts: one model of one framework behind OpenAI's wire format, on a private socket.

It may run under an interpreter in which Podium is not installed, so this package imports nothing of Podium and, but
for one backend's framework, only the standard library (Python 3.10 or newer).
"""
