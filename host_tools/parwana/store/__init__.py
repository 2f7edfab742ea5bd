"""What relays and signers keep: signed frames, permits, signatures."""
