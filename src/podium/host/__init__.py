"""Reads what this machine really has: processors, memory, accelerators, energy counters."""

from __future__ import annotations

from podium.host.machine import CPU, Host
from podium.host.power import HostPower

__all__ = ["CPU", "Host", "HostPower"]
