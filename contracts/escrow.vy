# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Escrow
@license MIT
@notice Locks what a house owes until the permit that it pays for is published; gives it back to the
        payer when it is not. Keeps a record of what was paid.
"""

from interfaces import IMeterRegistry
import accounts
import admin
import calendar
import money
import permit_signers
import permits

uses: accounts
uses: admin
uses: calendar
uses: money
uses: permits


event Locked:
    meter: indexed(address)
    number: indexed(uint48)
    payer: indexed(address)
    amount: uint256
    period: uint256
    deadline_s: uint256


event Paid:
    meter: indexed(address)
    number: indexed(uint48)
    payer: indexed(address)
    amount: uint256
    period: uint256
    serial: uint256
    index: uint256


event Refunded:
    number: indexed(uint48)
    payer: indexed(address)
    amount: uint256
    period: uint256


struct Lock:
    payer: address
    amount: uint256             # 0 = nothing is locked
    period: uint256             # the bill that it answers to
    deadline_s: uint256         # claimable until then, refundable after


struct Record:
    payments: uint256           # how many a permit was given for
    digest: bytes24             # over all of them, see `record`


struct Claim:
    meter: address
    frame: Bytes[permit_signers.FRAME]
    signatures: Bytes[permit_signers.SIGNATURES]


struct Grant:
    period: uint256
    valid_until_s: uint256      # at least
    power_limit_dw: uint256     # at least, or 0 for none
    serial: uint256             # at least


MAX_CLAIMS: constant(uint256) = 32
DAY_S: constant(uint256) = 86400
FLAG_PROTECTED: constant(uint256) = 1
_U16: constant(uint256) = 2**16 - 1
U32: constant(uint256) = 2**32 - 1
_U64: constant(uint256) = 2**64 - 1
_U96: constant(uint256) = 2**96 - 1

# offsets into a point's record: digest 192 | serial 32 | payments 32
_DIGEST: constant(uint256) = 64
SERIAL: constant(uint256) = 32

payment_window_s: public(immutable(uint256))
escrow_window_s: public(immutable(uint256))

# payer 160 | amount 96 of the last lock; the account tells whether it holds
_locks: HashMap[uint48, uint256]
records: HashMap[uint48, uint256]


@deploy
def __init__(_payment_window_s: uint256, _escrow_window_s: uint256):
    """
    @notice Choose the windows.
    @param _payment_window_s 32 bytes: how long a permit lasts beyond the end of the next period.
    @param _escrow_window_s 32 bytes: how long a payment stays locked, at most the payment window.
    """
    assert _escrow_window_s != 0, "escrow window is zero"
    assert _payment_window_s <= 366 * DAY_S, "payment window above 366 days"
    assert _escrow_window_s <= _payment_window_s, "escrow above payment window"
    payment_window_s = _payment_window_s
    escrow_window_s = _escrow_window_s


@nonreentrant
@external
def claim(
    _meter: address,
    _frame: Bytes[permit_signers.FRAME],
    _signatures: Bytes[permit_signers.SIGNATURES],
):
    """
    @notice Publish the permit that a locked payment is for; the payment becomes the utility's.
    @param _meter 20-byte address of the meter that serves the house.
    @param _frame 40-byte permit that grants at least what `least_grant` tells.
    @param _signatures 65 bytes for each signature: 1-byte index, rising, and 64-byte signature.
    """
    place: IMeterRegistry.Place = accounts._serving(_meter)
    account: uint256 = accounts.accounts[place.number]
    assert account & accounts.LOCKED != 0, "nothing locked"
    assert block.timestamp <= (account >> accounts.DEADLINE) & U32, "too late, refund"
    money._credit(admin.utility, self._claim(_meter, place, account, _frame, _signatures))


@nonreentrant
@external
def claim_many(_claims: DynArray[Claim, MAX_CLAIMS]) -> uint256:
    """
    @notice Claim many payments. One that is refunded, claimed or too late is passed over; a permit
            that `claim` would refuse fails them all.
    @param _claims up to 32 of what `claim` takes.
    @return how many were claimed.
    """
    total: uint256 = 0
    done: uint256 = 0
    for each: Claim in _claims:
        place: IMeterRegistry.Place = accounts._serving(each.meter)
        account: uint256 = accounts.accounts[place.number]
        claimable: bool = block.timestamp <= (account >> accounts.DEADLINE) & U32
        if account & accounts.LOCKED == 0 or not claimable:
            continue
        total += self._claim(each.meter, place, account, each.frame, each.signatures)
        done += 1
    money._credit(admin.utility, total)
    return done


@nonreentrant
@external
def refund(_number: uint48):
    """
    @notice Give a locked payment back to its payer after the window; the amount is owed again.
    @param _number 6-byte number of the metering point.
    """
    account: uint256 = accounts.accounts[_number]
    assert account & accounts.LOCKED != 0, "nothing locked"
    assert block.timestamp > (account >> accounts.DEADLINE) & U32, "too early to refund"
    lock: uint256 = self._locks[_number]
    payer: address = convert(lock >> 96, address)
    amount: uint256 = lock & _U96
    account = accounts._with_due(account, (account >> accounts.DUE) + amount)
    accounts.accounts[_number] = account & ~accounts.LOCKED
    money._credit(payer, amount)
    log Refunded(
        number=_number,
        payer=payer,
        amount=amount,
        period=(account >> accounts.FOR_PERIOD) & accounts.U24,
    )


@nonreentrant
@external
def publish(
    _meter: address,
    _frame: Bytes[permit_signers.FRAME],
    _signatures: Bytes[permit_signers.SIGNATURES],
):
    """
    @notice Publish a permit that costs nothing: nothing due, commissioning, or an act of grace.
            Refused while a payment is locked: a permit then must be claimed, or a payer who sees
            it on its way could publish it first and be refunded.
    @param _meter 20-byte address of the meter in service.
    @param _frame 40-byte permit.
    @param _signatures 65 bytes for each signature: 1-byte index, rising, and 64-byte signature.
    """
    number: uint48 = accounts._serving(_meter).number
    account: uint256 = accounts.accounts[number]
    assert (
        account & accounts.LOCKED == 0
        or block.timestamp > (account >> accounts.DEADLINE) & U32
    ), "paid, claim instead"
    record: uint256 = self.records[number]
    serial: uint256 = permits._publish(_meter, _frame, _signatures, (record >> SERIAL) & U32)
    self.records[number] = (record & ~(U32 << SERIAL)) | (serial << SERIAL)


@view
@external
def locked(_meter: address) -> Lock:
    """
    @notice Read the payment that is locked; zeros if none is.
    @param _meter 20-byte address of the meter that serves or served the house.
    """
    number: uint48 = accounts._number(_meter)
    account: uint256 = accounts.accounts[number]
    if account & accounts.LOCKED == 0:
        return empty(Lock)
    lock: uint256 = self._locks[number]
    return Lock(
        payer=convert(lock >> 96, address),
        amount=lock & _U96,
        period=(account >> accounts.FOR_PERIOD) & accounts.U24,
        deadline_s=(account >> accounts.DEADLINE) & U32,
    )


@view
@external
def record(_meter: address) -> Record:
    """
    @notice Read what proves the logged payments of a point complete and unchanged: each `Paid` was
            added by digest = first 24 bytes of keccak256(abi.encode(uint256(digest before), meter,
            payer, amount, period, serial)), from zero on.
    @param _meter 20-byte address of the meter that serves or served the house.
    """
    record: uint256 = self.records[accounts._number(_meter)]
    return Record(
        payments=record & U32,
        digest=convert(convert(record >> _DIGEST, uint192), bytes24),
    )


@view
@external
def least_grant(_meter: address) -> Grant:
    """
    @notice Tell the least that a permit must grant to claim the payment locked for a meter.
    @param _meter 20-byte address of the meter that serves the house.
    """
    place: IMeterRegistry.Place = accounts._serving(_meter)
    account: uint256 = accounts.accounts[place.number]
    assert account & accounts.LOCKED != 0, "nothing locked"
    return Grant(
        period=((account >> accounts.FOR_PERIOD) & accounts.U24) + 1,
        valid_until_s=self._least_valid_until(account),
        power_limit_dw=convert(place.sanctioned_load_dw, uint256),
        serial=max(
            ((self.records[place.number] >> SERIAL) & U32) + 1, self._locked_at(account)
        ),
    )


@internal
def _lock(_meter: address, _payer: address, _amount: uint256) -> uint256:
    """
    @notice Lock what is due, for a payer whose money is collected in the same transaction.
    @return the period last billed.
    """
    number: uint48 = accounts._serving(_meter).number
    account: uint256 = accounts.accounts[number]
    due: uint256 = account >> accounts.DUE
    assert due != 0, "nothing due"
    assert _amount == due, "amount not what is due"
    assert account & accounts.LOCKED == 0, "paid, not claimed yet"
    period: uint256 = (account >> accounts.PERIOD) & accounts.U24
    deadline_s: uint256 = block.timestamp + escrow_window_s
    kept: uint256 = account & (
        accounts.U72 << accounts.CARRIED | accounts.U24 << accounts.PERIOD | 2**8 - 1
    )
    accounts.accounts[number] = (
        kept | (period << accounts.FOR_PERIOD) | (deadline_s << accounts.DEADLINE) | accounts.LOCKED
    )
    self._locks[number] = (convert(_payer, uint256) << 96) | due
    log Locked(
        meter=_meter,
        number=number,
        payer=_payer,
        amount=due,
        period=period,
        deadline_s=deadline_s,
    )
    return period


@internal
def _claim(
    _meter: address,
    _place: IMeterRegistry.Place,
    _account: uint256,
    _frame: Bytes[permit_signers.FRAME],
    _signatures: Bytes[permit_signers.SIGNATURES],
) -> uint256:
    """
    @notice Publish the permit for a lock that is claimable, and add the payment to the record.
    @return the amount.
    """
    record: uint256 = self.records[_place.number]
    serial: uint256 = permits._publish(_meter, _frame, _signatures, (record >> SERIAL) & U32)
    head: uint256 = convert(extract32(_frame, 0), uint256)
    period: uint256 = (_account >> accounts.FOR_PERIOD) & accounts.U24
    load_dw: uint256 = convert(_place.sanctioned_load_dw, uint256)
    limit_dw: uint256 = (head >> 64) & U32
    assert (head >> 224) & _U16 & ~FLAG_PROTECTED == 0, "permit: flags"
    assert (head >> 128) & U32 >= self._least_valid_until(_account), "permit: ends too early"
    assert (head >> 96) & U32 == period + 1, "permit: other period"
    assert limit_dw == 0 or limit_dw >= load_dw, "permit: power limit"
    assert head & _U64 == 0, "permit: energy limit"
    # a meter refuses a serial below that of a permit it was handed, and lives on from the time of
    # issue: far ahead, nothing is left of this permit, nor of any other
    assert serial >= self._locked_at(_account), "permit: serial"
    assert (head >> 160) & U32 <= block.timestamp, "permit: issued ahead"

    lock: uint256 = self._locks[_place.number]
    payer: address = convert(lock >> 96, address)
    amount: uint256 = lock & _U96
    digest: uint256 = convert(
        keccak256(abi_encode(record >> _DIGEST, _meter, payer, amount, period, serial)), uint256
    )
    accounts.accounts[_place.number] = _account & ~accounts.LOCKED
    self.records[_place.number] = (
        (digest >> 64 << _DIGEST) | (serial << SERIAL) | ((record & U32) + 1)
    )
    log Paid(
        meter=_meter,
        number=_place.number,
        payer=payer,
        amount=amount,
        period=period,
        serial=serial,
        index=record & U32,
    )
    return amount


@view
@internal
def _least_valid_until(_account: uint256) -> uint256:
    """
    @notice Return until when a permit for a lock must last; see docs/protocol.md, section 7.
    """
    period: uint256 = (_account >> accounts.FOR_PERIOD) & accounts.U24
    # a bill paid late must not buy a permit that is over
    return max(calendar._start_of(period + 2), self._locked_at(_account)) + payment_window_s


@view
@internal
def _locked_at(_account: uint256) -> uint256:
    return ((_account >> accounts.DEADLINE) & U32) - escrow_window_s
