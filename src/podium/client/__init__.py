"""Owns the Python interface: a client of the HTTP API, of a running server or of one embedded in this process.

It decides nothing itself: everything goes over HTTP, so that both ways behave the same.
"""

from podium.client.api import Podium
from podium.client.discovery import find_server
from podium.client.results import Attempt, DecisionView, Explanation, Result
from podium.client.streaming import Stream

__all__ = ["Attempt", "DecisionView", "Explanation", "Podium", "Result", "Stream", "find_server"]
