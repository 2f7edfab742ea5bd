# pragma version 0.4.3
# pragma evm-version cancun
"""
@title PermitToken
@license MIT
@notice An ERC-20 with EIP-2612.
"""

import permitted

initializes: permitted
exports: (
    permitted.DOMAIN_SEPARATOR,
    permitted.name,
    permitted.version,
    permitted.symbol,
    permitted.decimals,
    permitted.balanceOf,
    permitted.allowance,
    permitted.nonces,
    permitted.mint,
    permitted.approve,
    permitted.transfer,
    permitted.transferFrom,
    permitted.permit,
)


@deploy
def __init__():
    permitted.__init__()
