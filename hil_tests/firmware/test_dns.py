"""Test dns: an answer as name servers send it (RFC 1035), and what is no answer."""

from dns import NameServerError, is_address, pack_query, parse_answer

from hil_tests.firmware.check import raises

# example.org, as RFC 1035 section 4.1 lays it out; the answer goes through a CNAME.
QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01"
ANSWER = (
    b"\x12\x34\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01"
    b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x0e\x10\x00\x06\x03www\xc0\x0c"
    b"\xc0\x29\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\x5d\xb8\xd8\x22"
)


def test_addresses_are_told_from_names():
    assert is_address("10.0.0.2")
    assert not is_address("10.0.0.256")
    assert not is_address("10.0.0")
    assert not is_address("example.org")


def test_query():
    assert pack_query("example.org", 0x1234) == QUERY
    assert pack_query("example.org.", 0x1234) == QUERY
    for name in ("", "a..b", "x" * 64 + ".org"):
        with raises(NameServerError):
            pack_query(name, 1)


def test_answer():
    assert parse_answer(ANSWER, QUERY) == "93.184.216.34"


def test_of_several_addresses_each_is_found():
    second = b"\xc0\x29\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\x0a\x00\x00\x07"
    found = []
    for identity in range(2):
        header = bytes([0x12, identity])
        answer = header + ANSWER[2:6] + b"\x00\x03" + ANSWER[8:] + second
        found.append(parse_answer(answer, header + QUERY[2:]))
    assert found == ["93.184.216.34", "10.0.0.7"]


def test_answers_to_others_are_none():
    assert parse_answer(b"\x12\x35" + ANSWER[2:], QUERY) is None
    assert parse_answer(QUERY, QUERY) is None
    assert parse_answer(ANSWER.replace(b"example\x03org\x00\x00", b"exomple\x03org\x00\x00"),
                        QUERY) is None  # fmt: skip
    assert parse_answer(b"", QUERY) is None


def test_errors_and_empty_answers():
    with raises(NameServerError, "error 3"):
        parse_answer(ANSWER[:3] + b"\x83" + ANSWER[4:], QUERY)
    with raises(NameServerError, "no address"):
        parse_answer(ANSWER[:6] + b"\0\0" + ANSWER[8:], QUERY)


def test_torn_answers_never_crash():
    for size in range(len(ANSWER)):
        try:
            assert parse_answer(ANSWER[:size], QUERY) is None
        except NameServerError:
            pass
    for at in range(len(QUERY), len(ANSWER)):
        for value in (0, 0x3F, 0xC0, 0xFF):
            try:
                parse_answer(ANSWER[:at] + bytes([value]) + ANSWER[at + 1 :], QUERY)
            except NameServerError:
                pass
