"""Anytime-valid comparison of two arms: looking after every request keeps the rate of false alarms.

Owns the statistics of a rollout: the boundary that an estimate has to cross (``boundary``), what is remembered of the
scores (``tallies``), the difference of two means with any and changing shares of traffic (``means``), of scores on the
same prompts (``pairs``) and of two quantiles (``quantiles``). Must not know rollouts, limits or what a verdict leads to.
"""
