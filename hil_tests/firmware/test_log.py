"""Test log: levels, the ring, and that a line stays a line."""

from log import Console, Log


class Ticks:
    def __init__(self):
        self.now = 5000

    def __call__(self):
        return self.now


def console(level="info"):
    lines = []
    ticks = Ticks()
    return Console(level, lines.append, ticks), lines, ticks


def test_line_has_uptime_level_and_name():
    c, lines, ticks = console()
    ticks.now += 61234
    Log("uplink", c).info("sent %d of %s", 3, "8")
    assert lines == ["61.234 info uplink: sent 3 of 8"]


def test_level_is_respected():
    c, lines, _ = console("warn")
    log = Log("a", c)
    log.info("no")
    log.warn("yes")
    log.error("100% yes")
    assert [line.split(": ")[1] for line in lines] == ["yes", "100% yes"]


def test_ring_keeps_the_last_lines_in_order():
    c, lines, _ = console()
    log = Log("a", c)
    log.info("one")
    assert c.last() == lines
    for i in range(100):
        log.info("%d", i)
    assert c.last() == lines[-8:]


def test_hostile_text_stays_one_short_line():
    c, lines, _ = console()
    Log("a", c).warn("x\r\n9.000 error forged: %s", "y" * 1000)
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert "\r" not in lines[0]
    assert len(lines[0]) < 200
