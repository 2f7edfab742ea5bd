"""Show meters in Home Assistant."""
