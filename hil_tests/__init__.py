"""Tests of Parwana as a whole."""
