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

from interfaces import IEnergyLedger
import accounts
import authorisations
import calendar
import escrow
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
initializes: escrow[
    accounts := accounts,
    admin := admin,
    calendar := calendar,
    money := money,
    permits := permits,
]
exports: (
    accounts.registry,
    accounts.energy_ledger,
    accounts.settle,
    accounts.settle_many,
    authorisations.nonces,
    escrow.payment_window_s,
    escrow.escrow_window_s,
    escrow.claim,
    escrow.claim_many,
    escrow.refund,
    escrow.publish,
    escrow.locked,
    escrow.record,
    escrow.least_grant,
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


# structs

struct Account:
    number: uint48
    meter: address              # that serves the point
    period: uint256             # last one billed
    due: uint256
    carried_wh: uint256
    payments: uint256
    serial: uint256             # of the last permit published for the point


# storage

notice_periods: public(immutable(uint256))

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
    escrow.__init__(_payment_window_s, _escrow_window_s)
    assert _rotation_delay_s >= _escrow_window_s, "rotation below escrow window"
    assert _notice_periods >= 1 and _notice_periods <= 366, "notice not 1 to 366"
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
    escrow._lock(_meter, msg.sender, _amount)
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
    period: uint256 = escrow._lock(_meter, _payer, _amount)
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
    period: uint256 = escrow._lock(_meter, _payer, _amount)
    authorisations._take(
        _meter, period, _payer, _amount, _deadline, _v, _r, _s, _pay_r, _pay_vs
    )


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
    record: uint256 = escrow.records[number]
    return Account(
        number=number,
        meter=staticcall accounts.registry.meter_of(number),
        period=(account >> accounts.PERIOD) & accounts.U24,
        due=account >> accounts.DUE,
        carried_wh=(account >> accounts.CARRIED) & accounts.U72,
        payments=record & escrow.U32,
        serial=(record >> escrow.SERIAL) & escrow.U32,
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
