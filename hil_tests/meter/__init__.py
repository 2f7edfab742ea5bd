"""Tests of host_tools/parwana/meter."""
