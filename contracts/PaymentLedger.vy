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

from ethereum.ercs import IERC20
from interfaces import IMeterRegistry
from interfaces import IEnergyLedger
import signature


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
    signatures: Bytes[SIGNATURES]


event Withdrawn:
    account: indexed(address)
    amount: uint256


event TariffAnnounced:
    index: indexed(uint256)
    from_period: uint256
    slabs: DynArray[Slab, MAX_SLABS]
    fixed_charge: uint256


event SignerAnnounced:
    index: indexed(uint256)
    signer: indexed(address)
    serial: uint256
    effective_at_s: uint256
    frame: Bytes[FRAME]
    public_key: Bytes[PUBLIC_KEY]
    signatures: Bytes[SIGNATURES]


event SignerChanged:
    index: indexed(uint256)
    signer: indexed(address)


event UtilityOffered:
    utility: indexed(address)
    offered: indexed(address)


event UtilityChanged:
    utility: indexed(address)


# structs

struct Slab:
    upto_wh: uint64             # of one period's energy
    price_per_kwh: uint96       # in the currency's smallest unit


struct Tariff:
    from_period: uint256
    slabs: DynArray[Slab, MAX_SLABS]
    fixed_charge: uint256       # for each period


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
PUBLIC_KEY: constant(uint256) = 64
MAX_SIGNERS: constant(uint256) = 8
MAX_SLABS: constant(uint256) = 6
MAX_METERS: constant(uint256) = 64
# index 1, signature 64
INDEXED_SIGNATURE: constant(uint256) = 65
SIGNATURES: constant(uint256) = MAX_SIGNERS * INDEXED_SIGNATURE

DAY_S: constant(uint256) = 86400
KIND_PERMIT: constant(uint256) = 3
KIND_SIGNER: constant(uint256) = 5
FLAG_PROTECTED: constant(uint256) = 1
KNOWN_FLAGS: constant(uint256) = 7
# how many tariffs a settlement can look back over: 85 years of monthly changes
MAX_TARIFFS_BACK: constant(uint256) = 1024

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
token: public(immutable(address))
payment_window_s: public(immutable(uint256))
escrow_window_s: public(immutable(uint256))
rotation_delay_s: public(immutable(uint256))
notice_periods: public(immutable(uint256))
threshold: public(immutable(uint256))
signer_count: public(immutable(uint256))

utility: public(address)
offered: public(address)
credits: public(HashMap[address, uint256])

signers: public(address[MAX_SIGNERS])
# effective_at_s 96 | address 160
_next_signers: uint256[MAX_SIGNERS]
trust_serial: public(uint256)

tariff_count: public(uint256)
# from_period 32 | slabs 8 | fixed_charge 96
_tariffs: HashMap[uint256, uint256]
# tariff << 8 | slab -> upto_wh 64 | price_per_kwh 96
_slabs: HashMap[uint256, uint256]

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
    _signers: DynArray[address, MAX_SIGNERS],
    _threshold: uint256,
    _slabs: DynArray[Slab, MAX_SLABS],
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
    assert _registry.is_contract, "registry is no contract"
    assert _energy_ledger.is_contract, "energy ledger is no contract"
    assert _token == empty(address) or _token.is_contract, "token is no contract"
    assert _utility != empty(address), "utility is zero"
    assert _escrow_window_s != 0, "escrow window is zero"
    assert _payment_window_s <= 366 * DAY_S, "payment window above 366 days"
    assert _escrow_window_s <= _payment_window_s, "escrow above payment window"
    assert _rotation_delay_s >= _escrow_window_s, "rotation below escrow window"
    assert _rotation_delay_s <= 366 * DAY_S, "rotation above 366 days"
    assert _notice_periods >= 1 and _notice_periods <= 366, "notice not 1 to 366"
    assert _threshold >= 1 and _threshold <= len(_signers), "threshold not 1 to n"
    registry = IMeterRegistry(_registry)
    energy_ledger = IEnergyLedger(_energy_ledger)
    token = _token
    payment_window_s = _payment_window_s
    escrow_window_s = _escrow_window_s
    rotation_delay_s = _rotation_delay_s
    notice_periods = _notice_periods
    threshold = _threshold
    signer_count = len(_signers)
    index: uint256 = 0
    for signer: address in _signers:
        self._check_new_signer(signer)
        self.signers[index] = signer
        log SignerChanged(index=index, signer=signer)
        index += 1
    self.utility = _utility
    log UtilityChanged(utility=_utility)
    self._add_tariff(0, _slabs, _fixed_charge)


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
    if token == empty(address):
        assert msg.value == due, "value not the amount"
    else:
        assert msg.value == 0, "pay in the token"
        before: uint256 = staticcall IERC20(token).balanceOf(self)
        assert extcall IERC20(token).transferFrom(
            msg.sender, self, due, default_return_value=True
        ), "token refused"
        received: uint256 = staticcall IERC20(token).balanceOf(self) - before
        assert received == due, "token takes a fee"
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
def claim(_meter: address, _frame: Bytes[FRAME], _signatures: Bytes[SIGNATURES]):
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
    self.credits[self.utility] += payer & _U96
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
    self.credits[convert(payer >> 96, address)] += amount
    log Refunded(
        number=_number,
        payer=convert(payer >> 96, address),
        amount=amount,
        period=(payment >> _FOR_PERIOD) & _U32,
    )


@nonreentrant
@external
def publish(_meter: address, _frame: Bytes[FRAME], _signatures: Bytes[SIGNATURES]):
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


@nonreentrant
@external
def withdraw() -> uint256:
    """
    @notice Take what is credited to you, as the utility or as a payer with a refund.
    @return the amount.
    """
    amount: uint256 = self.credits[msg.sender]
    assert amount != 0, "no credit"
    self.credits[msg.sender] = 0
    log Withdrawn(account=msg.sender, amount=amount)
    if token == empty(address):
        raw_call(msg.sender, b"", value=amount)
    else:
        assert extcall IERC20(token).transfer(
            msg.sender, amount, default_return_value=True
        ), "token refused"
    return amount


@external
def rotate(
    _frame: Bytes[FRAME], _public_key: Bytes[PUBLIC_KEY], _signatures: Bytes[SIGNATURES]
):
    """
    @notice Announce a new permit signer, signed by the old ones. It takes effect by
            `apply_rotation` after the delay: whoever has paid can be refunded before.
    @param _frame 40-byte frame of kind 5 under the permit domain of meter zero.
    @param _public_key 64-byte public key, x then y, that the frame has the hash of.
    @param _signatures 65 bytes for each signature: 1-byte index, rising, and 64-byte signature.
    """
    assert len(_frame) == FRAME, "frame not 40 bytes"
    assert len(_public_key) == PUBLIC_KEY, "key not 64 bytes"
    head: uint256 = convert(extract32(_frame, 0), uint256)
    index: uint256 = (head >> 224) & _U16
    serial: uint256 = (head >> 192) & _U32
    prefix: uint256 = convert(extract32(_frame, 8), uint256) & (2**224 - 1)
    assert head >> 240 == (1 << 8 | KIND_SIGNER), "frame not of kind 5"
    assert index < signer_count, "no such signer"
    assert convert(sha256(_public_key), uint256) >> 32 == prefix, "key not the frame's"
    self._check_serial(serial, self.trust_serial)
    self._check_signatures(empty(address), _frame, _signatures)
    signer: address = convert(
        convert(keccak256(_public_key), uint256) & (2**160 - 1), address
    )
    self._next_signers[index] = 0
    self._check_new_signer(signer)
    effective_at_s: uint256 = block.timestamp + rotation_delay_s
    self.trust_serial = serial
    self._next_signers[index] = (effective_at_s << 160) | convert(signer, uint256)
    log SignerAnnounced(
        index=index,
        signer=signer,
        serial=serial,
        effective_at_s=effective_at_s,
        frame=_frame,
        public_key=_public_key,
        signatures=_signatures,
    )


@external
def apply_rotation(_index: uint256):
    """
    @notice Put an announced signer in place after its delay.
    @param _index 32 bytes: 0 to 7.
    """
    assert _index < signer_count, "no such signer"
    announced: uint256 = self._next_signers[_index]
    assert announced != 0, "no signer announced"
    assert block.timestamp >= announced >> 160, "signer announced for later"
    signer: address = convert(announced & (2**160 - 1), address)
    self.signers[_index] = signer
    self._next_signers[_index] = 0
    log SignerChanged(index=_index, signer=signer)


# views

@view
@external
def permit_domain(_meter: address) -> bytes32:
    """
    @notice Return the domain of a meter's permits; of meter zero, that of `rotate`.
    @param _meter 20-byte address of the meter.
    """
    return self._permit_domain(_meter)


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


@view
@external
def tariff(_index: uint256) -> Tariff:
    """
    @notice Read a tariff.
    @param _index 32 bytes: from 0, below `tariff_count`.
    """
    assert _index < self.tariff_count, "no such tariff"
    header: uint256 = self._tariffs[_index]
    slabs: DynArray[Slab, MAX_SLABS] = []
    for i: uint256 in range((header >> 96) & _U8, bound=MAX_SLABS):
        slab: uint256 = self._slabs[(_index << 8) | i]
        slabs.append(
            Slab(
                upto_wh=convert(slab >> 96, uint64),
                price_per_kwh=convert(slab & _U96, uint96),
            )
        )
    return Tariff(from_period=header >> 104, slabs=slabs, fixed_charge=header & _U96)


@view
@external
def next_signer(_index: uint256) -> (address, uint256):
    """
    @notice Read an announced signer and from when `apply_rotation` takes it; zeros if none is.
    @param _index 32 bytes: 0 to 7.
    """
    announced: uint256 = self._next_signers[_index]
    return convert(announced & (2**160 - 1), address), announced >> 160


# admin

@external
def announce_tariff(
    _from_period: uint256, _slabs: DynArray[Slab, MAX_SLABS], _fixed_charge: uint96
):
    """
    @notice Announce a tariff for later periods; what was used before keeps its price.
    @param _from_period 32 bytes: at least `notice_periods` ahead, and after the last announced.
    @param _slabs 1 to 6 slabs, 8-byte upper bound in Wh rising to 2**64 - 1, 12-byte price per kWh.
    @param _fixed_charge 12 bytes, for each period.
    """
    assert msg.sender == self.utility, "not the utility"
    earliest: uint256 = staticcall energy_ledger.period_of(block.timestamp) + notice_periods
    assert _from_period >= earliest, "notice too short"
    assert _from_period <= _U32, "no such period"
    assert _from_period > self._tariffs[self.tariff_count - 1] >> 104, "not after the last tariff"
    self._add_tariff(_from_period, _slabs, _fixed_charge)


@external
def offer_utility(_utility: address):
    """
    @notice Offer the utility's place to another, which must accept; zero withdraws the offer.
    @param _utility 20-byte address.
    """
    assert msg.sender == self.utility, "not the utility"
    self.offered = _utility
    log UtilityOffered(utility=msg.sender, offered=_utility)


@external
def accept_utility():
    """
    @notice Become the utility that was offered its place. Credits stay with whom they were given.
    """
    assert msg.sender == self.offered, "not offered to you"
    self.utility = msg.sender
    self.offered = empty(address)
    log UtilityChanged(utility=msg.sender)


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

    amount: uint256 = self._price(energy_wh, last, periods)
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


@view
@internal
def _price(_energy_wh: uint256, _last: uint256, _periods: uint256) -> uint256:
    """
    @notice Price the energy of the periods after `_last`, rounded down once at the end.
    @dev Slabs are wider by the number of periods. Where the tariff changed in between, the energy
         is shared out evenly over the periods: the register does not tell when it was used. What
         a retired meter metered after its last bill is priced as a period without fixed charge.
    """
    first: uint256 = _last + min(_periods, 1)
    end: uint256 = max(_last + _periods, first) + 1
    energy_wh: uint256 = _energy_wh
    cost: uint256 = 0
    index: uint256 = self.tariff_count
    for _: uint256 in range(MAX_TARIFFS_BACK):
        index -= 1
        header: uint256 = self._tariffs[index]
        start: uint256 = header >> 104
        if start >= end:
            continue
        start = max(start, first)
        part_wh: uint256 = energy_wh * (end - start) // (end - first)
        cost += self._price_slabs(index, (header >> 96) & _U8, part_wh, end - start)
        if _periods != 0:
            cost += (header & _U96) * (end - start) * 1000
        energy_wh -= part_wh
        end = start
        if end == first:
            break
    assert end == first, "tariff too far back"
    return cost // 1000


@view
@internal
def _price_slabs(
    _tariff: uint256, _slab_count: uint256, _energy_wh: uint256, _periods: uint256
) -> uint256:
    """
    @notice Price energy by slabs, in thousandths of the currency's smallest unit.
    """
    cost: uint256 = 0
    low: uint256 = 0
    for i: uint256 in range(_slab_count, bound=MAX_SLABS):
        slab: uint256 = self._slabs[(_tariff << 8) | i]
        high: uint256 = _energy_wh
        if i + 1 < _slab_count:
            high = min(_energy_wh, (slab >> 96) * _periods)
        cost += (high - low) * (slab & _U96)
        low = high
        if low == _energy_wh:
            break
    return cost


@internal
def _add_tariff(
    _from_period: uint256, _slabs: DynArray[Slab, MAX_SLABS], _fixed_charge: uint96
):
    index: uint256 = self.tariff_count
    count: uint256 = len(_slabs)
    assert count != 0, "no slab"
    below: uint64 = 0
    i: uint256 = 0
    for slab: Slab in _slabs:
        assert slab.upto_wh > below, "slabs not rising"
        below = slab.upto_wh
        self._slabs[(index << 8) | i] = (
            (convert(slab.upto_wh, uint256) << 96) | convert(slab.price_per_kwh, uint256)
        )
        i += 1
    assert below == max_value(uint64), "last slab not open"
    fixed_charge: uint256 = convert(_fixed_charge, uint256)
    self._tariffs[index] = (_from_period << 104) | (count << 96) | fixed_charge
    self.tariff_count = index + 1
    log TariffAnnounced(
        index=index, from_period=_from_period, slabs=_slabs, fixed_charge=fixed_charge
    )


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
def _permit_domain(_meter: address) -> bytes32:
    return sha256(
        concat(
            b"parwana/permit/1",
            convert(chain.id, bytes32),
            convert(self, bytes20),
            convert(_meter, bytes20),
        )
    )


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
def _publish(_meter: address, _frame: Bytes[FRAME], _signatures: Bytes[SIGNATURES]):
    head: uint256 = convert(extract32(_frame, 0), uint256)
    serial: uint256 = (head >> 192) & _U32
    state: uint256 = self._meters[_meter]
    self._check_serial(serial, (state >> 32) & _U32)
    self._check_signatures(_meter, _frame, _signatures)
    self._meters[_meter] = (state & ~(_U32 << 32)) | (serial << 32)
    log PermitPublished(
        meter=_meter,
        serial=serial,
        period=(head >> 96) & _U32,
        frame=_frame,
        signatures=_signatures,
    )


@view
@internal
def _check_serial(_serial: uint256, _last: uint256):
    assert _serial > _last, "serial not above the last"
    # a serial far ahead would leave no room for the next
    assert _serial <= max(_last + 1, block.timestamp + DAY_S), "serial too far ahead"


@view
@internal
def _check_signatures(
    _meter: address, _frame: Bytes[FRAME], _signatures: Bytes[SIGNATURES]
):
    count: uint256 = len(_signatures) // INDEXED_SIGNATURE
    assert len(_signatures) == count * INDEXED_SIGNATURE, "signatures not n * 65 bytes"
    assert count >= threshold, "too few signatures"
    digest: bytes32 = sha256(concat(self._permit_domain(_meter), _frame))
    least_index: uint256 = 0
    for i: uint256 in range(count, bound=MAX_SIGNERS):
        offset: uint256 = i * INDEXED_SIGNATURE
        index: uint256 = convert(extract32(_signatures, offset), uint256) >> 248
        assert index >= least_index, "signers not rising"
        assert index < signer_count, "no such signer"
        least_index = index + 1
        signer: address = signature._recover(
            digest, extract32(_signatures, offset + 1), extract32(_signatures, offset + 33)
        )
        assert signer != empty(address) and signer == self.signers[index], "signature wrong"


@view
@internal
def _check_new_signer(_signer: address):
    assert _signer != empty(address), "signer is zero"
    for i: uint256 in range(MAX_SIGNERS):
        assert self.signers[i] != _signer, "signer twice"
        assert self._next_signers[i] & (2**160 - 1) != convert(_signer, uint256), "signer twice"
