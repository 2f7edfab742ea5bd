"""Tests of host_tools/parwana/chain."""
