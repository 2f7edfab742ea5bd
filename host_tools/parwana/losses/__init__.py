"""Who taps the line: what a feeder loses, why, and where to look first."""
