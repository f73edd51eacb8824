"""Builds the adapters and hands them to the services; the only place that knows both.

``Gateway.open`` is one running Podium. The way it is put together: ``foundation`` (what is known and recorded), ``serving``
(what answers a request), ``steering`` (what decides which version serves), ``assembly`` (all of it, in order).
"""

from __future__ import annotations

from podium.runtime.gateway import Gateway

__all__ = ["Gateway"]
