"""Readings as files that other programs read: CSV, Green Button, Parquet."""
