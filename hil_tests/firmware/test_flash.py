"""The flash that the tests stand on: as unkind as a chip, and cut off as they say."""

from hil_tests.firmware.flash import (
    BLOCK,
    FLIPPED,
    HALVES,
    NOT_BEGUN,
    TORN,
    Diary,
    Memory,
    happen,
    programmed,
)

ERASE = 6


def bits(data):
    return int.from_bytes(data, "big")


def test_only_an_erase_sets_bits():
    flash = Memory(1)
    flash.ioctl(ERASE, 0)
    assert flash.writeblocks(0, b"\xf0\x0f", 8) == 0
    assert flash.writeblocks(0, b"\x3c\xff", 8) == 0
    assert flash.data[0][7:11] == b"\xff\x30\x0f\xff"
    assert flash.ioctl(ERASE, 0) == 0
    assert flash.data[0] == b"\xff" * BLOCK
    assert programmed(b"\xff\xff", b"ab") == b"ab"


def test_after_the_cut_nothing_happens():
    flash = Memory(1)
    flash.ioctl(ERASE, 0)
    flash.cut_at(2, 8)
    assert flash.writeblocks(0, b"first") == 0
    assert flash.writeblocks(0, bytes(16), 16) != 0
    assert flash.writeblocks(0, bytes(16), 32) != 0
    assert flash.ioctl(ERASE, 0) != 0
    assert flash.readblocks(0, bytearray(4)) != 0
    assert flash.data[0][:48] == b"first" + b"\xff" * 11 + bytes(8) + b"\xff" * 24


def test_a_diary_tells_what_was_written_and_leaves_the_blocks_alone():
    before = [bytearray(b"\xff" * BLOCK) for _ in range(2)]
    diary = Diary(before, lambda: "so")
    diary.writeblocks(1, b"abc", 5)
    diary.ioctl(ERASE, 1)
    diary.writeblocks(1, b"x", 0)
    assert diary.entries == [(1, 5, b"abc", "so"), (1, 0, None, "so"), (1, 0, b"x", "so")]
    assert before[1] == b"\xff" * BLOCK
    assert diary.data[1][:2] == b"x\xff"
    again = bytearray(before[1])
    for entry in diary.entries:
        happen(again, entry)
    assert again == diary.data[1]


def test_half_a_program_never_sets_a_bit_nor_clears_another():
    data = bytes([i & 255 for i in range(700)])
    entry = (0, 100, data, None)
    whole = bytearray(b"\xff" * BLOCK)
    happen(whole, entry)
    assert whole[100:800] == data
    kinds = set()
    for half in HALVES:
        for seed in range(40):
            block = bytearray(b"\xff" * BLOCK)
            happen(block, entry, half, seed)
            assert bits(block) | bits(whole) == bits(block), (half, seed)
            done = 0
            while done < len(data) and block[100 + done] == data[done]:
                done += 1
            rest = block[100 + done : 800]
            kinds.add((half, rest == b"\xff" * len(rest)))
    # What is not begun, or torn, ends cleanly; bits of a page under work do not.
    assert {(NOT_BEGUN, True), (TORN, True), (FLIPPED, False)} <= kinds


def test_half_an_erase_leaves_bits_of_before():
    entry = (0, 0, None, None)
    for half in HALVES:
        seen = set()
        for seed in range(16):
            block = bytearray(BLOCK)
            happen(block, entry, half, seed)
            seen.add(bytes(block[:1] + block[-1:]))
        if half == NOT_BEGUN:
            assert seen == {b"\0\0"}
        else:
            assert b"\xff\0" in seen or half == FLIPPED
            assert len(seen) > 1
    block = bytearray(BLOCK)
    happen(block, entry, FLIPPED, 1)
    assert block.count(b"\0") < 100
    assert block.count(b"\xff") < BLOCK
