"""Tests of the firmware's pure modules: plain functions that CPython and MicroPython both run."""
