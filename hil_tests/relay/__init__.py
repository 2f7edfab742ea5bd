"""Tests of host_tools/parwana/relay."""
