"""Low-voltage feeders by power flow, their meters, and thieves: what `parwana losses` is shown."""
