# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Admin
@license MIT
@notice The one who administers a contract, and how that passes on: offered, then accepted.
"""

event UtilityOffered:
    utility: indexed(address)
    offered: indexed(address)


event UtilityChanged:
    utility: indexed(address)


utility: public(address)
offered: public(address)


@deploy
def __init__(_utility: address):
    """
    @notice Start with a utility.
    @param _utility 20-byte address, not zero.
    """
    assert _utility != empty(address), "utility is zero"
    self.utility = _utility
    log UtilityChanged(utility=_utility)


@external
def offer_utility(_utility: address):
    """
    @notice Offer the utility's place to another, which must accept; zero withdraws the offer.
    @param _utility 20-byte address.
    """
    self._check_utility()
    self.offered = _utility
    log UtilityOffered(utility=msg.sender, offered=_utility)


@external
def accept_utility():
    """
    @notice Become the utility that was offered the place. Credits stay with whom they were given.
    """
    assert msg.sender == self.offered, "not offered to you"
    self.utility = msg.sender
    self.offered = empty(address)
    log UtilityChanged(utility=msg.sender)


@internal
@view
def _check_utility():
    assert msg.sender == self.utility, "not the utility"
