"""Make, sign, check and publish permits."""
