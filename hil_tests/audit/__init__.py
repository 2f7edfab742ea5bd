"""Tests of host_tools/parwana/audit."""
