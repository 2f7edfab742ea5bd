"""Tests of host_tools/parwana/image."""
