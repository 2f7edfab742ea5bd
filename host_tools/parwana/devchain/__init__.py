"""An Ethereum chain for development."""
