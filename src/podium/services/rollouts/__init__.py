"""Rollouts: what drives them, what runs in the shadow, what is checked before traffic moves."""
