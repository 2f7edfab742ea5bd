"""Tests of host_tools/parwana/rights."""
