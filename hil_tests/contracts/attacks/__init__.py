"""What attackers of the contracts try, a file a family; see docs/threat-model.md."""
