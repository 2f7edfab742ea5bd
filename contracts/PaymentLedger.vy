# pragma version 0.4.3
# pragma evm-version cancun
"""
@title PaymentLedger
@license MIT
@notice Bills what the meters signed, and sells permits: a payment is locked until the permit that
        it pays for is published, and goes back to the payer when it is not.
@dev Accounts belong to metering points, permits to meters. Money is in one currency: the native
     coin, or one ERC-20 that moves exact amounts. Frames are those of docs/protocol.md.
"""

from interfaces import IMeterRegistry
from interfaces import IEnergyLedger
import accounts
import authorisations
import calendar
import signature
import permits
import permit_signers
import tariffs
import money
import admin

initializes: calendar
initializes: permit_signers
initializes: permits[permit_signers := permit_signers]
initializes: tariffs
initializes: accounts[calendar := calendar, tariffs := tariffs]
initializes: money
initializes: authorisations[money := money]
initializes: admin
exports: (
    accounts.registry,
    accounts.energy_ledger,
    accounts.settle,
    accounts.settle_many,
    authorisations.nonces,
    permit_signers.threshold,
    permit_signers.signer_count,
    permit_signers.rotation_delay_s,
    permit_signers.signers,
    permit_signers.trust_serial,
    permit_signers.next_signer,
    permit_signers.permit_domain,
    permit_signers.rotate,
    permit_signers.apply_rotation,
    tariffs.tariff,
    tariffs.tariff_count,
    money.token,
    money.credits,
    money.withdraw,
    money.withdraw_for,
    admin.utility,
    admin.offered,
    admin.offer_utility,
    admin.accept_utility,
)


# events

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


# structs

struct Account:
    number: uint48
    meter: address              # that serves the point
    period: uint256             # last one billed
    due: uint256
    carried_wh: uint256
    payments: uint256
    serial: uint256             # of the last permit published for the point


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


# constants

MAX_CLAIMS: constant(uint256) = 32
DAY_S: constant(uint256) = 86400
FLAG_PROTECTED: constant(uint256) = 1
_U16: constant(uint256) = 2**16 - 1
_U32: constant(uint256) = 2**32 - 1
_U64: constant(uint256) = 2**64 - 1
_U96: constant(uint256) = 2**96 - 1

# offsets into a point's record: digest 192 | serial 32 | payments 32
_DIGEST: constant(uint256) = 64
_SERIAL: constant(uint256) = 32


# storage

payment_window_s: public(immutable(uint256))
escrow_window_s: public(immutable(uint256))
notice_periods: public(immutable(uint256))

# payer 160 | amount 96 of the last lock; the account tells whether it holds
_locks: HashMap[uint48, uint256]
_records: HashMap[uint48, uint256]


# constructor

@deploy
def __init__(
    _registry: address,
    _energy_ledger: address,
    _token: address,
    _utility: address,
    _payment_window_s: uint256,
    _escrow_window_s: uint256,
    _rotation_delay_s: uint256,
    _notice_periods: uint256,
    _signers: DynArray[address, permit_signers.MAX_SIGNERS],
    _threshold: uint256,
    _slabs: DynArray[tariffs.Slab, tariffs.MAX_SLABS],
    _fixed_charge: uint96,
):
    """
    @notice Deploy a ledger of one currency beside the EnergyLedger of its chain.
    @param _registry 20-byte address of the MeterRegistry.
    @param _energy_ledger 20-byte address of the EnergyLedger.
    @param _token 20-byte address of the ERC-20 to pay in, zero = the native coin.
    @param _utility 20-byte address that is paid and sets tariffs.
    @param _payment_window_s 32 bytes: how long a permit lasts beyond the end of the next period.
    @param _escrow_window_s 32 bytes: how long a payment stays locked, at most the payment window.
    @param _rotation_delay_s 32 bytes: notice of a new signer, at least the escrow window.
    @param _notice_periods 32 bytes: notice of a new tariff, at least 1.
    @param _signers 1 to 8 different 20-byte addresses.
    @param _threshold 32 bytes: how many of them must sign, at least 1.
    @param _slabs 1 to 6 slabs, 8-byte upper bound in Wh rising to 2**64 - 1, 12-byte price per kWh.
    @param _fixed_charge 12 bytes, for each period.
    """
    signature._check_sha256()
    admin.__init__(_utility)
    money.__init__(_token)
    permit_signers.__init__(_signers, _threshold, _rotation_delay_s)
    accounts.__init__(_registry, _energy_ledger)
    ledger: IEnergyLedger = IEnergyLedger(_energy_ledger)
    calendar.__init__(staticcall ledger.period_s(), staticcall ledger.utc_offset_s())
    assert _escrow_window_s != 0, "escrow window is zero"
    assert _payment_window_s <= 366 * DAY_S, "payment window above 366 days"
    assert _escrow_window_s <= _payment_window_s, "escrow above payment window"
    assert _rotation_delay_s >= _escrow_window_s, "rotation below escrow window"
    assert _notice_periods >= 1 and _notice_periods <= 366, "notice not 1 to 366"
    payment_window_s = _payment_window_s
    escrow_window_s = _escrow_window_s
    notice_periods = _notice_periods
    tariffs._add(0, _slabs, _fixed_charge)


# permissionless functions

@payable
@nonreentrant
@external
def pay(_meter: address, _amount: uint256):
    """
    @notice Lock all that a house owes, for its utility to claim by publishing a permit. Anyone
            may pay for anyone. The amount cannot change while it is locked.
    @param _meter 20-byte address of the meter that serves the house.
    @param _amount 32 bytes: exactly what is due; as value in native coin, else approved before.
    """
    self._lock(_meter, msg.sender, _amount)
    money._collect(msg.sender, _amount)


@nonreentrant
@external
def pay_with_authorization(
    _meter: address,
    _amount: uint256,
    _payer: address,
    _valid_before: uint256,
    _v: uint8,
    _r: bytes32,
    _s: bytes32,
):
    """
    @notice Pay as `pay`, by what the payer signed for a token with EIP-3009; anyone may send it.
    @param _meter 20-byte address of the meter that serves the house.
    @param _amount 32 bytes: exactly what is due.
    @param _payer 20-byte address of who signed ReceiveWithAuthorization: from the payer to this
           contract, valid after 0, its nonce keccak256(abi.encode(chain id, this contract, meter,
           period last billed, amount, valid before)).
    @param _valid_before 32-byte Unix time.
    @param _v 1 byte of the signature.
    @param _r 32 bytes of the signature.
    @param _s 32 bytes of the signature.
    """
    period: uint256 = self._lock(_meter, _payer, _amount)
    authorisations._receive(_meter, period, _payer, _amount, _valid_before, _v, _r, _s)


@nonreentrant
@external
def pay_with_permit(
    _meter: address,
    _amount: uint256,
    _payer: address,
    _deadline: uint256,
    _v: uint8,
    _r: bytes32,
    _s: bytes32,
    _pay_r: uint256,
    _pay_vs: uint256,
):
    """
    @notice Pay as `pay`, by what the payer signed for a token with EIP-2612; anyone may send it.
    @param _meter 20-byte address of the meter that serves the house.
    @param _amount 32 bytes: exactly what is due.
    @param _payer 20-byte address of who signed both: Permit of the token, for this contract as
           spender, and Pay of this contract (EIP-712), with the period last billed.
    @param _deadline 32-byte Unix time, the last of both.
    @param _v 1 byte of the Permit's signature.
    @param _r 32 bytes of the Permit's signature.
    @param _s 32 bytes of the Permit's signature.
    @param _pay_r 32-byte r of the Pay's signature.
    @param _pay_vs 32 bytes of the Pay's signature, yParity << 255 | s.
    """
    period: uint256 = self._lock(_meter, _payer, _amount)
    authorisations._take(
        _meter, period, _payer, _amount, _deadline, _v, _r, _s, _pay_r, _pay_vs
    )


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
    assert block.timestamp <= (account >> accounts.DEADLINE) & _U32, "too late, refund"
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
        claimable: bool = block.timestamp <= (account >> accounts.DEADLINE) & _U32
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
    assert block.timestamp > (account >> accounts.DEADLINE) & _U32, "too early to refund"
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
        or block.timestamp > (account >> accounts.DEADLINE) & _U32
    ), "paid, claim instead"
    record: uint256 = self._records[number]
    serial: uint256 = permits._publish(_meter, _frame, _signatures, (record >> _SERIAL) & _U32)
    self._records[number] = (record & ~(_U32 << _SERIAL)) | (serial << _SERIAL)


# views

@view
@external
def account(_meter: address) -> Account:
    """
    @notice Read the account of the point that a meter serves or served.
    @param _meter 20-byte address of the meter.
    """
    number: uint48 = accounts._number(_meter)
    account: uint256 = accounts.accounts[number]
    record: uint256 = self._records[number]
    return Account(
        number=number,
        meter=staticcall accounts.registry.meter_of(number),
        period=(account >> accounts.PERIOD) & accounts.U24,
        due=account >> accounts.DUE,
        carried_wh=(account >> accounts.CARRIED) & accounts.U72,
        payments=record & _U32,
        serial=(record >> _SERIAL) & _U32,
    )


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
        deadline_s=(account >> accounts.DEADLINE) & _U32,
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
    record: uint256 = self._records[accounts._number(_meter)]
    return Record(
        payments=record & _U32,
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
            ((self._records[place.number] >> _SERIAL) & _U32) + 1, self._locked_at(account)
        ),
    )


# admin

@external
def announce_tariff(
    _from_period: uint256, _slabs: DynArray[tariffs.Slab, tariffs.MAX_SLABS], _fixed_charge: uint96
):
    """
    @notice Announce a tariff for later periods; what was used before keeps its price.
    @param _from_period 32 bytes: at least `notice_periods` ahead, and after the last announced;
           at most 12 wait for their periods.
    @param _slabs 1 to 6 slabs, 8-byte upper bound in Wh rising to 2**64 - 1, 12-byte price per kWh.
    @param _fixed_charge 12 bytes, for each period.
    """
    admin._check_utility()
    period: uint256 = calendar._period_of(block.timestamp)
    assert _from_period >= period + notice_periods, "notice too short"
    assert _from_period <= accounts.U24, "no such period"
    tariffs._check_next(_from_period, period)
    tariffs._add(_from_period, _slabs, _fixed_charge)


# internal

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
    record: uint256 = self._records[_place.number]
    serial: uint256 = permits._publish(_meter, _frame, _signatures, (record >> _SERIAL) & _U32)
    head: uint256 = convert(extract32(_frame, 0), uint256)
    period: uint256 = (_account >> accounts.FOR_PERIOD) & accounts.U24
    load_dw: uint256 = convert(_place.sanctioned_load_dw, uint256)
    limit_dw: uint256 = (head >> 64) & _U32
    assert (head >> 224) & _U16 & ~FLAG_PROTECTED == 0, "permit: flags"
    assert (head >> 128) & _U32 >= self._least_valid_until(_account), "permit: ends too early"
    assert (head >> 96) & _U32 == period + 1, "permit: other period"
    assert limit_dw == 0 or limit_dw >= load_dw, "permit: power limit"
    assert head & _U64 == 0, "permit: energy limit"
    # a meter refuses a serial below that of a permit it was handed, and lives on from the time of
    # issue: far ahead, nothing is left of this permit, nor of any other
    assert serial >= self._locked_at(_account), "permit: serial"
    assert (head >> 160) & _U32 <= block.timestamp, "permit: issued ahead"

    lock: uint256 = self._locks[_place.number]
    payer: address = convert(lock >> 96, address)
    amount: uint256 = lock & _U96
    digest: uint256 = convert(
        keccak256(abi_encode(record >> _DIGEST, _meter, payer, amount, period, serial)), uint256
    )
    accounts.accounts[_place.number] = _account & ~accounts.LOCKED
    self._records[_place.number] = (
        (digest >> 64 << _DIGEST) | (serial << _SERIAL) | ((record & _U32) + 1)
    )
    log Paid(
        meter=_meter,
        number=_place.number,
        payer=payer,
        amount=amount,
        period=period,
        serial=serial,
        index=record & _U32,
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
    return ((_account >> accounts.DEADLINE) & _U32) - escrow_window_s
