"""Small typed links to systems next to Podium: a registry of agents, an orchestrator of steps.

Each module owns one interface (a protocol) and one working adapter over HTTP. They decide nothing about models themselves.
"""

from podium.integrations.agents import Agent, AgentCard, AgentRegistry, BackedAgents, HttpAgentRegistry
from podium.integrations.orchestration import (
    Assigner,
    Assignment,
    Plan,
    PodiumAssigner,
    Step,
    StepResult,
    run_plan,
)

__all__ = [
    "Agent",
    "AgentCard",
    "AgentRegistry",
    "Assigner",
    "Assignment",
    "BackedAgents",
    "HttpAgentRegistry",
    "Plan",
    "PodiumAssigner",
    "Step",
    "StepResult",
    "run_plan",
]
