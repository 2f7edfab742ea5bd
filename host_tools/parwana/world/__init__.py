"""What every room may use: the world's clock, programs and their runtimes, the broker."""
