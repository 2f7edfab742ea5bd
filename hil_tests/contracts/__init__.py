"""Tests of the contracts, one file for each group of functions, on py-evm in process."""
