"""A model as judge: who judges, what it is asked, and its verdict. Owns no queue and stores nothing."""

from podium.services.judge.asking import ModelJudge
from podium.services.judge.picking import JudgePicker

__all__ = ["JudgePicker", "ModelJudge"]
