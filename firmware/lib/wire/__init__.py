"""Pack, check and digest every byte that crosses a boundary: the codec of docs/protocol.md.

codes     the numbers: kinds, flags, events, reasons, refusals, messages
frames    the 40-byte frame
domains   what a frame is signed under
messages  bundles, MQTT payloads and topics

It runs on the meter and on the host alike. Everything malformed raises `FrameError`.
"""
# ruff: noqa: F401, F403

from .codes import *
from .domains import digest, key_prefix, permit_domain, reading_domain, time_domain, update_domain
from .frames import (
    Event,
    FrameError,
    Ledger,
    Permit,
    Reading,
    Signer,
    Time,
    Update,
    pack_event,
    pack_ledger,
    pack_permit,
    pack_reading,
    pack_signer,
    pack_time,
    pack_update,
    parse,
)
from .messages import (
    Bundle,
    Hello,
    pack_bundle,
    pack_bundle_message,
    pack_frames,
    pack_get,
    pack_hello,
    pack_piece,
    pack_text,
    pack_want,
    parse_bundle,
    parse_down,
    parse_frames,
    parse_message,
    parse_text,
    parse_topic,
    split_bundle,
    time_topic,
    topic,
)
