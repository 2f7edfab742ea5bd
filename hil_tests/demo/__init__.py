"""Tests of host_tools/parwana/demo."""
