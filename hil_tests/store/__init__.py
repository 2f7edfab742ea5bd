"""Tests of host_tools/parwana/store."""
