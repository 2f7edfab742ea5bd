"""How long a relay waits before it lands what it has."""

GATHER_S = 3600  # a feeder's closings of a period, for each other
ROOT_WAIT_S = 6 * 3600  # a day's root, for late frames
ROOT_WAIT_MOST_S = 20 * 3600  # so that a late frame has its root within merkle.LATENESS_S
LEASE_S = 300  # what a relay is about to send is its own; one that died holds it no longer
