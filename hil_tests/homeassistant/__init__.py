"""Tests of host_tools/parwana/homeassistant."""
