"""Carry readings to store and chain, permits to meters."""
