"""What other tools know of models, as proposals for Podium: running servers, files, and other tools' configurations.

Reads and proposes; registers nothing. Secrets that stand in files are never copied, only named.
"""

from __future__ import annotations

from podium.importing.report import Note, Proposal, Report

__all__ = ["Note", "Proposal", "Report"]
