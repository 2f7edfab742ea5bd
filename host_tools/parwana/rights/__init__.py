"""Use the rights that the contracts give."""
