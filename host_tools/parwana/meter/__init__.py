"""Reach one meter: its port, its firmware, its pairing."""
