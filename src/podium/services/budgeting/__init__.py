"""Budgets in force: what operations may use, reserved before the call and settled after it."""

from __future__ import annotations

from podium.services.budgeting.service import NOTHING, Budgeting, Reservation

__all__ = ["NOTHING", "Budgeting", "Reservation"]
