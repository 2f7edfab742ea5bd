"""Test handover and wire.text: what is pasted into the console, well meant or not."""

from handover import Handover

import wire
from hil_tests.firmware.check import in_folder, raises
from hil_tests.firmware.rig import Rig
from hil_tests.firmware.signers import DAY_S, T0, bundle, domain, permit

MOST = 40 + 64 + 8 * 65


class Desk:
    """A meter's control with a console before it."""

    def __init__(self, folder):
        self.rig = Rig(folder)
        self.typed = iter(())
        self.said = []
        self.handover = Handover(self.read, self.rig.control.bundle, self.said.append)

    def read(self):
        self.last = next(self.typed, None)
        return self.last

    def paste(self, text, end="\r", times=1):
        """Type text so many times; return what the console said until control was done."""
        self.typed = bytes_of(text, times, end)
        self.last = 0
        while self.last is not None:
            self.handover.tick()
        for _ in range(60):
            self.handover.tick()
        self.rig.run(2000)
        said = self.said[:]
        self.said.clear()
        return said


def bytes_of(text, times, end):
    """Give the bytes of `times` texts (str or bytes) and an end."""
    for _ in range(times):
        yield from text if isinstance(text, bytes) else text.encode()
    yield from end.encode()


def test_text_of_any_size_reads_back():
    for size in range(MOST + 1):
        data = bytes((7 * i + size) & 255 for i in range(size))
        text = wire.pack_text(data).encode()
        assert len(text) == 8 + 2 * (size + 4)
        assert wire.parse_text(text) == data
        assert wire.parse_text(text.lower()) == data


def test_text_is_what_the_protocol_says():
    # zlib's CRC-32 of "abc" is 352441c2
    assert wire.pack_text(b"abc") == "PARWANA:616263352441C2"
    allowed = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"  # a QR code's alphanumeric mode
    text = wire.pack_text(bundle(permit(7)))
    assert len(text) == 356
    assert all(letter in allowed for letter in text)


def test_each_wrong_missing_or_added_letter_is_noticed():
    text = wire.pack_text(bundle(permit(7))).encode()
    for at in range(8, len(text)):
        letter = text[at : at + 1]
        other = b"A" if letter != b"A" else b"7"
        for line in (
            text[:at] + other + text[at + 1 :],
            text[:at] + text[at + 1 :],
            text[:at] + letter + text[at:],
            text[:at] + letter + letter + text[at:],
            text[:at],
            text[:at] + b" " + text[at:],
            text[:at] + b"\xff" + text[at + 1 :],
        ):
            with raises(wire.FrameError, "paste the line again"):
                wire.parse_text(line)


def test_other_lines_are_passed_over():
    text = wire.pack_text(b"abc").encode()
    for line in (b"", b"help", b"PARWAN", b"PARWANA", b" " + text, bytes(range(256))):
        assert wire.parse_text(line) is None


def test_permit_pasted_connects_and_is_answered():
    with in_folder() as folder:
        desk = Desk(folder)
        text = wire.pack_text(bundle(permit(7)))
        assert desk.paste(text) == ["permit: accepted"]
        assert desk.rig.closed
        assert desk.paste(text) == ["permit: bundle known already"]
        assert desk.paste(text.lower(), "\r\n") == ["permit: bundle known already"]
        time = wire.pack_text(bundle(wire.pack_time(3, T0 + DAY_S)))
        assert desk.paste(time) == ["permit: accepted"]
        assert desk.rig.rtc == T0 + DAY_S


def test_what_chats_and_terminals_make_of_a_line_is_understood():
    with in_folder() as folder:
        desk = Desk(folder)
        text = wire.pack_text(bundle(permit(7)))
        assert desk.paste(text, "") == ["permit: accepted"]  # and nobody pressed Enter
        for line in (
            " \ufeff\u201c" + text + "\u201d ",
            "[22/11/2026, 18:04] Utility: " + text,
            text[:9] + "\u00a0" + text[9:77] + "\u200b" + text[77:],
            "\r\n  ".join([text[at : at + 70] for at in range(0, len(text), 70)]),
            " ".join([text[at : at + 1] for at in range(0, len(text))]),
            text[:100] + text,
        ):
            assert desk.paste(line) == ["permit: bundle known already"], line


def test_permits_pasted_together_are_taken_in_their_order():
    with in_folder() as folder:
        desk = Desk(folder)
        lines = [wire.pack_text(bundle(permit(serial))) for serial in (7, 8, 9)]
        assert desk.paste("\n".join(lines)) == 3 * ["permit: accepted"]


def test_wrong_permits_are_refused_with_the_reason():
    with in_folder() as folder:
        desk = Desk(folder)
        good = bundle(permit(7))
        for data, reason in (
            (bundle(permit(7), under=domain(meter=bytes(20))), wire.REFUSED_SIGNATURE),
            (good[: 40 + 65], wire.REFUSED_TOO_FEW),
            (b"", wire.REFUSED_MALFORMED),
            (good + b"\0", wire.REFUSED_MALFORMED),
            (bytes(MOST), wire.REFUSED_MALFORMED),
            (b"abc", wire.REFUSED_MALFORMED),
        ):
            (said,) = desk.paste(wire.pack_text(data))
            assert f"refused, reason {reason} " in said, said
            assert not desk.rig.closed
        assert desk.paste(wire.pack_text(good)) == ["permit: accepted"]


def test_hostile_pastes_change_nothing_and_leave_the_console_usable():
    with in_folder() as folder:
        desk = Desk(folder)
        good = wire.pack_text(bundle(permit(7)))
        assert desk.paste(b"PARWANA:" + 700 * b"A", times=30) == [
            "permit: damaged or not whole; paste the line again"
        ]
        assert desk.paste(b"PARWANA:" + bytes(range(128, 256)) * 3)[0].endswith("again")
        assert desk.paste(bytes(range(256)), times=8) == []
        assert desk.paste("A" * 500, times=100) == []
        (said,) = desk.paste(good[:150], "")  # the cable is pulled; later somebody begins anew
        assert said.endswith("again")
        assert desk.paste(good[:150] + "\r" + good[150:-1]) == [said]
        assert not desk.rig.closed
        assert desk.rig.take() == []
        assert desk.paste(good) == ["permit: accepted"]


def test_a_round_is_short_whatever_is_typed():
    with in_folder() as folder:
        desk = Desk(folder)
        desk.typed = (n & 255 for n in range(1000))
        desk.handover.tick()
        assert desk.last == 299 & 255


def test_a_flood_from_the_network_does_not_keep_a_hand_out():
    with in_folder() as folder:
        desk = Desk(folder)
        bad = bundle(permit(9), under=domain(meter=bytes(20)))
        for _ in range(9):
            desk.rig.control.bundle(bad)
        assert desk.paste(wire.pack_text(bundle(permit(7)))) == ["permit: accepted"]
        for _ in range(9):
            desk.rig.control.bundle(bad)
        lines = wire.pack_text(bundle(permit(8))) + "\r" + wire.pack_text(bundle(permit(9)))
        assert "too many wait" in desk.paste(lines)[0]
