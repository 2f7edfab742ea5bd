"""Tests of host_tools/parwana/losses."""
