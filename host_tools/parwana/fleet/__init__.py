"""All meters at a look, and whether the parts that serve them do."""
