"""Tests of host_tools/parwana/fleet."""
