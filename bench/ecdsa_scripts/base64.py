"""Imported by a peer, not called."""

b64encode = b64decode = None
