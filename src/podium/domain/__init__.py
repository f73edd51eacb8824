"""Frozen values every layer shares: standard library only, no behaviour beyond reading themselves."""
