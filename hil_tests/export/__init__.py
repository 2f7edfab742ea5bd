"""Tests of host_tools/parwana/export."""
