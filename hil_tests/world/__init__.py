"""Tests of host_tools/parwana/world."""
