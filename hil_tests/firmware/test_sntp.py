"""Test SNTP: the question, and the answers that are none."""

from sntp import pack_query, parse_answer

NONCE = bytes(range(1, 9))
# Of a packet dump: 2026-11-22 18:30:00 UTC is 4004361000 s from 1900.
STAMP_S, UNIX_S = 4004361000, 1795372200


def answer(first=0x24, stratum=2, origin=NONCE, stamp_s=STAMP_S):
    """Return an answer with `first` byte (leap, version, mode)."""
    head = bytes((first, stratum, 6, 0xEC)) + bytes(20)
    return head + origin + bytes(8) + stamp_s.to_bytes(4, "big") + b"\x80\0\0\0"


def test_question():
    query = pack_query(NONCE)
    assert len(query) == 48
    assert query[:1] == b"\x23"
    assert query[1:40] == bytes(39)
    assert query[40:] == NONCE


def test_answer():
    query = pack_query(NONCE)
    assert parse_answer(answer(), query) == UNIX_S
    assert parse_answer(answer(first=0x1C, stratum=15), query) == UNIX_S
    assert parse_answer(answer() + bytes(20), query) == UNIX_S  # with an authenticator


def test_the_era_that_begins_in_2036():
    query = pack_query(NONCE)
    assert parse_answer(answer(stamp_s=0xFFFFFFFF), query) == 2085978495
    assert parse_answer(answer(stamp_s=1), query) == 2085978497
    assert parse_answer(answer(stamp_s=0x80000000), query) == -61505152  # 1968: the clock refuses


def test_what_is_no_answer():
    query = pack_query(NONCE)
    for data in (
        b"",
        answer()[:47],
        answer(stratum=0),  # kiss of death
        answer(stratum=16),
        answer(first=0xE4),  # knows no time
        answer(first=0x23),  # a question
        answer(first=0x25),  # a broadcast
        answer(origin=bytes(8)),
        answer(origin=NONCE[1:] + b"\0"),  # to another's question
        answer(stamp_s=0),
    ):
        assert parse_answer(data, query) is None, data
