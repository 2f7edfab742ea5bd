"""Tests of host_tools/parwana/permits."""
