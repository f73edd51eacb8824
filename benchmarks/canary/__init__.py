"""Simulated rollouts and the rules of the canary table."""
