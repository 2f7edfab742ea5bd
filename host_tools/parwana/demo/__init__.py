"""A whole utility on this computer."""
