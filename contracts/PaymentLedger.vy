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
import signature
import permit_signers
import tariffs
import money
import admin

initializes: permit_signers
initializes: tariffs
initializes: money
initializes: admin
exports: (
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
    admin.utility,
    admin.offered,
    admin.offer_utility,
    admin.accept_utility,
)


# events

event Billed:
    meter: indexed(address)
    number: indexed(uint48)
    period: indexed(uint256)
    periods: uint256
    energy_wh: uint256
    amount: uint256
    due: uint256


event Carried:
    # energy of a replaced meter, billed with the next period of its point
    meter: indexed(address)
    number: indexed(uint48)
    energy_wh: uint256


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


event PermitPublished:
    meter: indexed(address)
    serial: indexed(uint256)
    period: indexed(uint256)
    frame: Bytes[FRAME]
    signatures: Bytes[permit_signers.SIGNATURES]


# structs

struct Account:
    number: uint48
    meter: address              # that serves the point
    period: uint256             # last one billed
    due: uint256
    carried_wh: uint256
    payments: uint256
    serial: uint256             # of the last permit published for the meter that was asked for


struct Payment:
    payer: address
    amount: uint256
    period: uint256             # the bill that it answers to
    deadline_s: uint256         # of a lock: claimable until then, refundable after
    serial: uint256             # of the permit that was given for it
    paid_at_s: uint256          # 0 while locked


struct Grant:
    period: uint256
    valid_until_s: uint256      # at least
    power_limit_dw: uint256     # at least, or 0 for none
    serial: uint256             # at least


# constants

FRAME: constant(uint256) = 40
MAX_METERS: constant(uint256) = 64

DAY_S: constant(uint256) = 86400
KIND_PERMIT: constant(uint256) = 3
FLAG_PROTECTED: constant(uint256) = 1
KNOWN_FLAGS: constant(uint256) = 7
_U8: constant(uint256) = 2**8 - 1
_U16: constant(uint256) = 2**16 - 1
_U32: constant(uint256) = 2**32 - 1
_U64: constant(uint256) = 2**64 - 1
_U96: constant(uint256) = 2**96 - 1

# offsets into an account's slot: due 96 | carried_wh 72 | payments 32 | period 32 | opened 1
_DUE: constant(uint256) = 160
_CARRIED: constant(uint256) = 88
_PAYMENTS: constant(uint256) = 48
_PERIOD: constant(uint256) = 16
_OPENED: constant(uint256) = 1
_U72: constant(uint256) = 2**72 - 1

# offsets into a payment's second slot: period 32 | deadline_s 32 | serial 32 | paid_at_s 32 | locked 1
_FOR_PERIOD: constant(uint256) = 128
_DEADLINE: constant(uint256) = 96
_SERIAL: constant(uint256) = 64
_PAID_AT: constant(uint256) = 32
_LOCKED: constant(uint256) = 1


# storage

registry: public(immutable(IMeterRegistry))
energy_ledger: public(immutable(IEnergyLedger))
payment_window_s: public(immutable(uint256))
escrow_window_s: public(immutable(uint256))
notice_periods: public(immutable(uint256))

_accounts: HashMap[uint48, uint256]
# number << 32 | index -> payer 160 | amount 96; a lock is the payment that is not counted yet
_payers: HashMap[uint256, uint256]
_payments: HashMap[uint256, uint256]
# billed_wh 64 | serial 32 | known 1
_meters: HashMap[address, uint256]


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
    assert _registry.is_contract, "registry is no contract"
    assert _energy_ledger.is_contract, "energy ledger is no contract"
    assert _escrow_window_s != 0, "escrow window is zero"
    assert _payment_window_s <= 366 * DAY_S, "payment window above 366 days"
    assert _escrow_window_s <= _payment_window_s, "escrow above payment window"
    assert _rotation_delay_s >= _escrow_window_s, "rotation below escrow window"
    assert _notice_periods >= 1 and _notice_periods <= 366, "notice not 1 to 366"
    registry = IMeterRegistry(_registry)
    energy_ledger = IEnergyLedger(_energy_ledger)
    payment_window_s = _payment_window_s
    escrow_window_s = _escrow_window_s
    notice_periods = _notice_periods
    tariffs._add(0, _slabs, _fixed_charge)


# permissionless functions

@nonreentrant
@external
def settle(_meter: address) -> uint256:
    """
    @notice Bill a house for all periods that its meter closed since the last bill.
    @param _meter 20-byte address of the meter.
    @return the amount billed now, 0 if there is nothing new.
    """
    return self._settle(_meter)


@nonreentrant
@external
def settle_many(_meters: DynArray[address, MAX_METERS]):
    """
    @notice Settle many houses.
    @param _meters up to 64 20-byte addresses.
    """
    for meter: address in _meters:
        self._settle(meter)


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
    number: uint48 = self._serving(_meter).number
    account: uint256 = self._accounts[number]
    due: uint256 = account >> _DUE
    assert due != 0, "nothing due"
    assert _amount == due, "amount not what is due"
    key: uint256 = self._payment_key(number, account)
    assert self._payments[key] & _LOCKED == 0, "paid, not claimed yet"
    period: uint256 = (account >> _PERIOD) & _U32
    deadline_s: uint256 = block.timestamp + escrow_window_s
    self._accounts[number] = account & ~(_U96 << _DUE)
    self._payers[key] = (convert(msg.sender, uint256) << 96) | due
    self._payments[key] = (period << _FOR_PERIOD) | (deadline_s << _DEADLINE) | _LOCKED
    money._collect(due)
    log Locked(
        meter=_meter,
        number=number,
        payer=msg.sender,
        amount=due,
        period=period,
        deadline_s=deadline_s,
    )


@nonreentrant
@external
def claim(_meter: address, _frame: Bytes[FRAME], _signatures: Bytes[permit_signers.SIGNATURES]):
    """
    @notice Publish the permit that a locked payment is for; the payment becomes the utility's.
    @param _meter 20-byte address of the meter that serves the house.
    @param _frame 40-byte permit that grants at least what `least_grant` tells.
    @param _signatures 65 bytes for each signature: 1-byte index, rising, and 64-byte signature.
    """
    entry: IMeterRegistry.Meter = self._serving(_meter)
    account: uint256 = self._accounts[entry.number]
    key: uint256 = self._payment_key(entry.number, account)
    payment: uint256 = self._payments[key]
    assert payment & _LOCKED != 0, "nothing locked"
    assert block.timestamp <= (payment >> _DEADLINE) & _U32, "too late, refund"
    least: Grant = self._least_grant(_meter, entry, payment)

    self._check_permit(_frame)
    head: uint256 = convert(extract32(_frame, 0), uint256)
    serial: uint256 = (head >> 192) & _U32
    power_limit_dw: uint256 = (head >> 64) & _U32
    assert (head >> 224) & _U16 & ~FLAG_PROTECTED == 0, "permit: flags"
    assert (head >> 128) & _U32 >= least.valid_until_s, "permit: ends too early"
    assert (head >> 96) & _U32 == least.period, "permit: other period"
    assert power_limit_dw == 0 or power_limit_dw >= least.power_limit_dw, "permit: power limit"
    assert head & _U64 == 0, "permit: energy limit"
    self._publish(_meter, _frame, _signatures)

    index: uint256 = (account >> _PAYMENTS) & _U32
    payer: uint256 = self._payers[key]
    self._payments[key] = (
        (payment & ~_LOCKED) | (serial << _SERIAL) | (block.timestamp << _PAID_AT)
    )
    self._accounts[entry.number] = account + (1 << _PAYMENTS)
    money._credit(admin.utility, payer & _U96)
    log Paid(
        meter=_meter,
        number=entry.number,
        payer=convert(payer >> 96, address),
        amount=payer & _U96,
        period=least.period - 1,
        serial=serial,
        index=index,
    )


@nonreentrant
@external
def refund(_number: uint48):
    """
    @notice Give a locked payment back to its payer after the window; the amount is owed again.
    @param _number 6-byte number of the metering point.
    """
    account: uint256 = self._accounts[_number]
    key: uint256 = self._payment_key(_number, account)
    payment: uint256 = self._payments[key]
    assert payment & _LOCKED != 0, "nothing locked"
    assert block.timestamp > (payment >> _DEADLINE) & _U32, "too early to refund"
    payer: uint256 = self._payers[key]
    amount: uint256 = payer & _U96
    self._payments[key] = 0
    self._payers[key] = 0
    self._accounts[_number] = self._with_due(account, (account >> _DUE) + amount)
    money._credit(convert(payer >> 96, address), amount)
    log Refunded(
        number=_number,
        payer=convert(payer >> 96, address),
        amount=amount,
        period=(payment >> _FOR_PERIOD) & _U32,
    )


@nonreentrant
@external
def publish(_meter: address, _frame: Bytes[FRAME], _signatures: Bytes[permit_signers.SIGNATURES]):
    """
    @notice Publish a permit that costs nothing: nothing due, commissioning, or an act of grace.
            Refused while a payment is locked: a permit then must be claimed, or a payer who sees
            it on its way could publish it first and be refunded.
    @param _meter 20-byte address of the meter in service.
    @param _frame 40-byte permit.
    @param _signatures 65 bytes for each signature: 1-byte index, rising, and 64-byte signature.
    """
    number: uint48 = self._serving(_meter).number
    payment: uint256 = self._payments[self._payment_key(number, self._accounts[number])]
    assert (
        payment & _LOCKED == 0 or block.timestamp > (payment >> _DEADLINE) & _U32
    ), "paid, claim instead"
    self._check_permit(_frame)
    self._publish(_meter, _frame, _signatures)


# views

@view
@external
def account(_meter: address) -> Account:
    """
    @notice Read the account of the point that a meter serves or served.
    @param _meter 20-byte address of the meter.
    """
    number: uint48 = self._number(_meter)
    account: uint256 = self._accounts[number]
    return Account(
        number=number,
        meter=staticcall registry.meter_of(number),
        period=(account >> _PERIOD) & _U32,
        due=account >> _DUE,
        carried_wh=(account >> _CARRIED) & _U72,
        payments=(account >> _PAYMENTS) & _U32,
        serial=(self._meters[_meter] >> 32) & _U32,
    )


@view
@external
def locked(_meter: address) -> Payment:
    """
    @notice Read the payment that is locked; amount 0 if none is.
    @param _meter 20-byte address of the meter that serves or served the house.
    """
    number: uint48 = self._number(_meter)
    return self._payment(self._payment_key(number, self._accounts[number]))


@view
@external
def payments(_meter: address, _index: uint256) -> Payment:
    """
    @notice Read a payment that a permit was given for. Nothing of it ever changes.
    @param _meter 20-byte address of the meter that serves or served the house.
    @param _index 32 bytes: from 0.
    """
    number: uint48 = self._number(_meter)
    assert _index < (self._accounts[number] >> _PAYMENTS) & _U32, "no such payment"
    return self._payment((convert(number, uint256) << 32) | _index)


@view
@external
def least_grant(_meter: address) -> Grant:
    """
    @notice Tell the least that a permit must grant to claim the payment locked for a meter.
    @param _meter 20-byte address of the meter that serves the house.
    """
    entry: IMeterRegistry.Meter = self._serving(_meter)
    payment: uint256 = self._payments[self._payment_key(entry.number, self._accounts[entry.number])]
    assert payment & _LOCKED != 0, "nothing locked"
    return self._least_grant(_meter, entry, payment)


# admin

@external
def announce_tariff(
    _from_period: uint256, _slabs: DynArray[tariffs.Slab, tariffs.MAX_SLABS], _fixed_charge: uint96
):
    """
    @notice Announce a tariff for later periods; what was used before keeps its price.
    @param _from_period 32 bytes: at least `notice_periods` ahead, and after the last announced.
    @param _slabs 1 to 6 slabs, 8-byte upper bound in Wh rising to 2**64 - 1, 12-byte price per kWh.
    @param _fixed_charge 12 bytes, for each period.
    """
    admin._check_utility()
    earliest: uint256 = staticcall energy_ledger.period_of(block.timestamp) + notice_periods
    assert _from_period >= earliest, "notice too short"
    assert _from_period <= _U32, "no such period"
    assert _from_period > tariffs._tariffs[tariffs.tariff_count - 1] >> 104, "not after the last tariff"
    tariffs._add(_from_period, _slabs, _fixed_charge)


# internal: bills

@internal
def _settle(_meter: address) -> uint256:
    entry: IMeterRegistry.Meter = staticcall registry.meter(_meter)
    assert entry.kind == 1, "not a house"
    number: uint48 = entry.number
    account: uint256 = self._accounts[number]
    if account == 0:
        since_s: uint256 = convert(staticcall registry.served_since(number), uint256)
        period: uint256 = staticcall energy_ledger.period_of(since_s) - 1
        account = (period << _PERIOD) | _OPENED
    closing: IEnergyLedger.Closing = staticcall energy_ledger.closing(_meter)
    energy_wh: uint256 = (account >> _CARRIED) & _U72
    energy_wh += self._take(_meter, entry.initial_wh, closing.energy_wh)
    if entry.previous != empty(address):
        energy_wh += self._take(
            entry.previous,
            (staticcall registry.meter(entry.previous)).initial_wh,
            (staticcall energy_ledger.closing(entry.previous)).energy_wh,
        )

    ended: bool = entry.retired_at_s != 0
    replaced: bool = ended and staticcall registry.meter_of(number) != _meter
    last: uint256 = (account >> _PERIOD) & _U32
    periods: uint256 = 0
    if not replaced and closing.time_s != 0:
        periods = convert(closing.period, uint256) - last
    if replaced or (periods == 0 and (not ended or energy_wh == 0)):
        if energy_wh != (account >> _CARRIED) & _U72:
            self._accounts[number] = (account & ~(_U72 << _CARRIED)) | (energy_wh << _CARRIED)
            log Carried(meter=_meter, number=number, energy_wh=energy_wh)
        return 0

    amount: uint256 = tariffs._price(energy_wh, last, periods)
    due: uint256 = (account >> _DUE) + amount
    account = account & ~((_U72 << _CARRIED) | (_U32 << _PERIOD))
    account = self._with_due(account, due) | ((last + periods) << _PERIOD)
    self._accounts[number] = account
    log Billed(
        meter=_meter,
        number=number,
        period=last + periods,
        periods=periods,
        energy_wh=energy_wh,
        amount=amount,
        due=due,
    )
    return amount


@internal
def _take(_meter: address, _initial_wh: uint64, _energy_wh: uint64) -> uint256:
    """
    @notice Return what a meter closed beyond what was taken before, and mark it taken.
    """
    state: uint256 = self._meters[_meter]
    billed_wh: uint256 = state >> 64
    if state & 1 == 0:
        billed_wh = convert(_initial_wh, uint256)
    energy_wh: uint256 = convert(_energy_wh, uint256)
    if energy_wh != billed_wh or state & 1 == 0:
        self._meters[_meter] = (energy_wh << 64) | (state & _U64) | 1
    return energy_wh - billed_wh


# internal: accounts

@view
@internal
def _serving(_meter: address) -> IMeterRegistry.Meter:
    """
    @notice Read a meter that serves its point, be it the last one of a retired point.
    """
    entry: IMeterRegistry.Meter = staticcall registry.meter(_meter)
    assert entry.kind != 0, "meter not enrolled"
    if entry.retired_at_s != 0:
        assert staticcall registry.meter_of(entry.number) == _meter, "meter replaced"
    return entry


@view
@internal
def _number(_meter: address) -> uint48:
    entry: IMeterRegistry.Meter = staticcall registry.meter(_meter)
    assert entry.kind != 0, "meter not enrolled"
    return entry.number


@pure
@internal
def _with_due(_account: uint256, _due: uint256) -> uint256:
    assert _due <= _U96, "due above 2**96"
    return (_account & ~(_U96 << _DUE)) | (_due << _DUE)


@pure
@internal
def _payment_key(_number: uint48, _account: uint256) -> uint256:
    return (convert(_number, uint256) << 32) | ((_account >> _PAYMENTS) & _U32)


@view
@internal
def _payment(_key: uint256) -> Payment:
    payer: uint256 = self._payers[_key]
    payment: uint256 = self._payments[_key]
    return Payment(
        payer=convert(payer >> 96, address),
        amount=payer & _U96,
        period=(payment >> _FOR_PERIOD) & _U32,
        deadline_s=(payment >> _DEADLINE) & _U32,
        serial=(payment >> _SERIAL) & _U32,
        paid_at_s=(payment >> _PAID_AT) & _U32,
    )


# internal: permits

@view
@internal
def _least_grant(
    _meter: address, _entry: IMeterRegistry.Meter, _payment: uint256
) -> Grant:
    period: uint256 = (_payment >> _FOR_PERIOD) & _U32
    locked_at_s: uint256 = ((_payment >> _DEADLINE) & _U32) - escrow_window_s
    # a bill paid late must not buy a permit that is over
    from_s: uint256 = max(staticcall energy_ledger.start_of(period + 2), locked_at_s)
    return Grant(
        period=period + 1,
        valid_until_s=from_s + payment_window_s,
        power_limit_dw=convert(_entry.sanctioned_load_dw, uint256),
        serial=((self._meters[_meter] >> 32) & _U32) + 1,
    )


@pure
@internal
def _check_permit(_frame: Bytes[FRAME]):
    """
    @notice Refuse a frame that a meter would refuse as malformed.
    """
    assert len(_frame) == FRAME, "frame not 40 bytes"
    head: uint256 = convert(extract32(_frame, 0), uint256)
    tail: uint256 = convert(extract32(_frame, 8), uint256) & _U64
    assert head >> 240 == (1 << 8 | KIND_PERMIT), "frame no permit"
    assert (head >> 224) & _U16 <= KNOWN_FLAGS, "permit: flags"
    assert tail & _U32 == 0, "permit: bytes not zero"
    assert tail >> 56 <= 23 and (tail >> 48) & _U8 <= 23, "permit: no-cut hours"
    assert (tail >> 40) & _U8 <= 127, "permit: weekdays"


@internal
def _publish(_meter: address, _frame: Bytes[FRAME], _signatures: Bytes[permit_signers.SIGNATURES]):
    head: uint256 = convert(extract32(_frame, 0), uint256)
    serial: uint256 = (head >> 192) & _U32
    state: uint256 = self._meters[_meter]
    permit_signers._check_serial(serial, (state >> 32) & _U32)
    permit_signers._check_signatures(_meter, _frame, _signatures)
    self._meters[_meter] = (state & ~(_U32 << 32)) | (serial << 32)
    log PermitPublished(
        meter=_meter,
        serial=serial,
        period=(head >> 96) & _U32,
        frame=_frame,
        signatures=_signatures,
    )
