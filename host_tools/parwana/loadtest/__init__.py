"""Meters that are simulated, by the thousand, against a real broker."""
