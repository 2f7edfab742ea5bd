"""Decide which permits to believe, and what they grant together.

A bundle counts when m of the n signers that this meter trusts signed its frame under this meter's
domain, and its serial is new. The supply is granted by the union of the permits accepted, so a
worse permit takes nothing from a better one before that one's end. What changes is made durable
before it takes effect, and a permit seen over is forgotten for good: a clock that loses its memory
revives nothing.

A corrupt record loses the permits, so what was granted is unknown, and unknown changes nothing at
the contactor until the next permit. The serials are lost with it, but an old permit replayed
grants no more than its signers once meant, and an ended one is refused as always. The signers and
the ledger fall back to the configuration's; kinds 5 and 6 that came after it have to come again.
"""

import struct
from collections import namedtuple
from hashlib import sha256

import ecdsa
import wire
from terms import at_least, covers, end_s, ended, no_cut

HELD_MOST = 4

_INDEXED = 1 + wire.SIGNATURE_SIZE

_VERSION = 1
_HEAD = ">BB8sIIIQ20s40sBB"
_HEAD_SIZE = struct.calcsize(_HEAD)

# While `running`: the newest serial in force, the last second granted with grace (end_s), the
# power limit (0 = none). Else why not: wire.REASON_NO_PERMIT, _EXPIRED, _ENERGY_LIMIT, or 0 when
# the record was lost and nobody knows; the serial last accepted, and zeros.
Grant = namedtuple("Grant", "running reason serial end_s power_limit_dw needs_button")

# What is saved: `reason` is the grant's when no permit is held, `origin` names the configuration
# that the signers and the ledger descend from, `last` is the permit frame last accepted.
_FIELDS = (
    "reason",
    "origin",
    "serial",
    "trust_serial",
    "signed_s",
    "chain_id",
    "ledger",
    "last",
    "signers",
    "held",
)
_Saved = namedtuple("_Saved", _FIELDS)


class Refused(ValueError):
    """A bundle that has no effect: count it, drop it. `reason` is of protocol.md section 1.4.

    `repeat` is True for what brokers repeat at every connect: the permit accepted last, or a time
    no newer than the last. That is no attack and worth no event.
    """

    def __init__(self, reason, serial=0, repeat=False):
        text = "bundle refused, reason %d (docs/protocol.md 1.4)" % reason
        super().__init__("bundle known already" if repeat else text)
        self.reason = reason
        self.serial = serial
        self.repeat = repeat


class Permits:
    """Hold the signers trusted and up to 4 permits.

    threshold    m, how many distinct signers it takes
    signers      n public keys of 64 bytes, 1 <= m <= n <= 8; index is position
    chain_id, ledger, meter   name the domain: 8 bytes at most, two addresses of 20 bytes
    utc_offset_s for the no-cut hours
    persist      called with the record (bytes) before anything takes effect; raises if it cannot
    saved        the record of the last start, None when there is none, b"" when it was corrupt
    update       called with an offered wire.Update before its signatures are verified; raises
                 Refused if it is not to be taken. Without it none is
    """

    def __init__(
        self, threshold, signers, chain_id, ledger, meter, utc_offset_s, persist, saved=None,
        update=None,
    ):  # fmt: skip
        self._threshold = threshold
        self._meter = meter
        self._utc_offset_s = utc_offset_s
        self._persist = persist
        self._check_update = update
        self._time_serial = 0
        self.lost = False
        keys = b"".join(signers)
        trust = struct.pack(">BQ20s20s", threshold, chain_id, ledger, meter) + keys
        origin = sha256(trust).digest()[:8]
        known = self._restore(saved)
        if known.origin != origin:
            # A first start, or an installer's new configuration: its trust, but the same permits.
            signers = tuple(signers)
            known = _with(known, origin=origin, chain_id=chain_id, ledger=ledger, signers=signers)
        self._adopt(known)

    @property
    def serial(self):
        """The serial of the permit last accepted."""
        return self._saved.serial

    @property
    def trust_serial(self):
        """The serial of the signer or ledger change last accepted."""
        return self._saved.trust_serial

    @property
    def signed_s(self):
        """The latest time of issue accepted with a permit or a change: a floor for the clock."""
        return self._saved.signed_s

    def accept(self, data, not_before_s, energy_wh):
        """Check a bundle (bytes) and let it take effect; return its parsed frame.

        A Time or an Update has no effect here: that is the caller's. Raises Refused.
        """
        accepted = None
        for frame in self.accepting(data, not_before_s, energy_wh):
            accepted = frame
        return accepted

    def accepting(self, data, not_before_s, energy_wh):
        """Do as `accept`, yielding None before each signature and the parsed frame at the end."""
        packed, public_key, at, frame = _parse(data)
        serial = frame.serial
        kind = packed[1]
        if packed == self._saved.last or (kind == wire.KIND_TIME and serial <= self._time_serial):
            raise Refused(wire.REFUSED_SERIAL, serial, repeat=True)
        domain = self._time_domain if kind == wire.KIND_TIME else self._domain
        if kind == wire.KIND_UPDATE:
            if not self._check_update:
                raise Refused(wire.REFUSED_KIND, serial)
            self._check_update(frame)
            domain = wire.update_domain(self._saved.chain_id, self._saved.ledger)
        self._check_signers([data[i] for i in range(at, len(data), _INDEXED)], serial)
        digest = wire.digest(domain, packed)
        while at < len(data):
            yield None
            signature = data[at + 1 : at + _INDEXED]
            if not _verifies(digest, signature, self._saved.signers[data[at]]):
                raise Refused(wire.REFUSED_SIGNATURE, serial)
            at += _INDEXED
        if kind == wire.KIND_PERMIT:
            self._accept_permit(packed, frame, not_before_s, energy_wh)
        elif kind == wire.KIND_TIME:
            self._time_serial = serial
        elif kind != wire.KIND_UPDATE:
            self._accept_trust(public_key, frame)
        yield frame

    def grant(self, not_before_s, energy_wh):
        """Return the union of the permits in force, as a Grant.

        Permits found over are forgotten first, durably.
        """
        lasting = self._lasting(not_before_s, energy_wh)
        if len(lasting) < len(self._permits):
            newest = self._permits[0]
            reason = ended(newest, not_before_s, energy_wh)
            held = tuple(self._saved.held[self._permits.index(permit)] for permit in lasting)
            self._commit(_with(self._saved, reason=reason, held=held))
        if not lasting:
            return Grant(False, self._saved.reason, self._saved.serial, 0, 0, False)
        last_s = 0
        limit_dw = None
        needs_button = True
        for permit in lasting:
            last_s = max(last_s, end_s(permit))
            if limit_dw is None or limit_dw and at_least(permit.power_limit_dw, limit_dw):
                limit_dw = permit.power_limit_dw
            needs_button = needs_button and bool(permit.flags & wire.PERMIT_BUTTON)
        return Grant(True, 0, lasting[0].serial, last_s, limit_dw, needs_button)

    def keep(self):
        """Save the record as it is, to heal one that was lost."""
        self._commit(self._saved)

    def _check_signers(self, indices, serial):
        last = -1
        for index in indices:
            if not last < index < len(self._saved.signers):
                raise Refused(wire.REFUSED_INDEX, serial)
            last = index
        if len(indices) < self._threshold:
            raise Refused(wire.REFUSED_TOO_FEW, serial)

    def _accept_permit(self, frame, permit, not_before_s, energy_wh):
        if permit.serial <= self._saved.serial:
            raise Refused(wire.REFUSED_SERIAL, permit.serial)
        lived_s = max(not_before_s, permit.issued_at_s)
        if ended(permit, lived_s, energy_wh):
            raise Refused(wire.REFUSED_EXPIRED, permit.serial)
        held = [frame]
        for old in self._lasting(lived_s, energy_wh, permit):
            if not covers(permit, old):
                held.append(self._saved.held[self._permits.index(old)])
        if len(held) > HELD_MOST:
            raise Refused(wire.REFUSED_PENDING, permit.serial)
        self._commit(
            _with(
                self._saved,
                serial=permit.serial,
                signed_s=max(self._saved.signed_s, permit.issued_at_s),
                last=frame,
                held=tuple(held),
            )
        )

    def _accept_trust(self, public_key, frame):
        if frame.serial <= self._saved.trust_serial:
            raise Refused(wire.REFUSED_SERIAL, frame.serial)
        signed_s = max(self._saved.signed_s, frame.issued_at_s)
        new = _with(self._saved, trust_serial=frame.serial, signed_s=signed_s)
        if isinstance(frame, wire.Ledger):
            self._commit(_with(new, chain_id=frame.chain_id, ledger=frame.ledger))
            return
        signers = list(self._saved.signers)
        if frame.index >= len(signers):
            raise Refused(wire.REFUSED_INDEX, frame.serial)
        if wire.key_prefix(public_key) != frame.key_prefix:
            raise Refused(wire.REFUSED_KEY_PREFIX, frame.serial)
        signers[frame.index] = public_key
        if len(set(signers)) < len(signers):  # one key under two indices would sign twice
            raise Refused(wire.REFUSED_INDEX, frame.serial)
        self._commit(_with(new, signers=tuple(signers)))

    def _lasting(self, not_before_s, energy_wh, newer=None):
        """Return the permits held that still carry the supply, newest first.

        An ended one does so through its no-cut hours, and a protected one until another that
        ends later has taken its place.
        """
        last_s = end_s(newer) if newer else 0
        for permit in self._permits:
            last_s = max(last_s, end_s(permit))
        local_s = not_before_s + self._utc_offset_s
        return [
            permit
            for permit in self._permits
            if not ended(permit, not_before_s, energy_wh)
            or (permit.flags & wire.PERMIT_PROTECTED and end_s(permit) >= last_s)
            or no_cut(permit, local_s)
        ]

    def _restore(self, saved):
        reason = wire.REASON_NO_PERMIT
        if saved is not None:
            try:
                return _unpack(saved)
            except wire.FrameError:
                self.lost = True
                reason = 0
        return _Saved(reason, b"", 0, 0, 0, 0, b"", bytes(wire.FRAME_SIZE), (), ())

    def _commit(self, new):
        self._persist(_pack(new))
        self._adopt(new)

    def _adopt(self, new):
        self._domain = wire.permit_domain(new.chain_id, new.ledger, self._meter)
        self._time_domain = wire.time_domain(new.chain_id, new.ledger)
        self._permits = [wire.parse(frame) for frame in new.held]
        self._saved = new


def _parse(data):
    if len(data) > 1 and data[0] == 1 and data[1] in (wire.KIND_READING, wire.KIND_EVENT):
        raise Refused(wire.REFUSED_KIND)
    try:
        frame, public_key, at = wire.split_bundle(data)
        return frame, public_key, at, wire.parse(frame)
    except wire.FrameError:
        raise Refused(wire.REFUSED_MALFORMED)


def _verifies(digest, compact, public_key):
    """Tell whether `public_key` made the signature, its parity bit included.

    The contract recovers the signer, so a flipped parity is another signer's there; here too.
    """
    try:
        signature, recovery = ecdsa.expand(compact)
        return ecdsa.recover(digest, signature, recovery) == public_key
    except ecdsa.EcdsaError:
        return False


def _with(saved, **changes):
    """Return a copy of `saved` with some fields changed (MicroPython has no _replace)."""
    return _Saved(*[changes.get(name, getattr(saved, name)) for name in _FIELDS])


def _pack(saved):
    head = struct.pack(
        _HEAD,
        _VERSION,
        saved.reason,
        saved.origin,
        saved.serial,
        saved.trust_serial,
        saved.signed_s,
        saved.chain_id,
        saved.ledger,
        saved.last,
        len(saved.signers),
        len(saved.held),
    )
    return head + b"".join(saved.signers) + b"".join(saved.held)


def _unpack(data):
    """Return what `_pack` made. Raises wire.FrameError when the record is not one."""
    if len(data) < _HEAD_SIZE or data[0] != _VERSION:
        raise wire.FrameError("record of permits: unknown version")
    values = struct.unpack_from(_HEAD, data)
    signers, held = values[-2:]
    at = _HEAD_SIZE + signers * wire.PUBLIC_KEY_SIZE
    if len(data) != at + held * wire.FRAME_SIZE:
        raise wire.FrameError("record of permits: length does not fit")
    saved = _Saved(
        *values[1:-2],
        signers=_split(data, _HEAD_SIZE, at, wire.PUBLIC_KEY_SIZE),
        held=_split(data, at, len(data), wire.FRAME_SIZE),
    )
    for frame in saved.held:
        if not isinstance(wire.parse(frame), wire.Permit):
            raise wire.FrameError("record of permits: it holds another kind")
    return saved


def _split(data, start, stop, size):
    return tuple(bytes(data[at : at + size]) for at in range(start, stop, size))
