"""Make what is flashed to a meter."""
