"""Recompute everything from chain and store."""
