"""Tests of host_tools/parwana/devchain."""
