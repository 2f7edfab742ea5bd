"""Test the asking for network time: nothing waits for a server, and only an answer is one."""

from timesync import network_time

from hil_tests.firmware.check import raises
from hil_tests.firmware.test_sntp import UNIX_S, answer
from hil_tests.firmware.world import Ticks, drive

NONCE = bytes(range(1, 9))
SERVER = "192.0.2.7"


class Socket:
    """Gives `answers`, one a read; None is that nothing has come, an error is raised."""

    def __init__(self, answers):
        self.answers = answers
        self.written = b""
        self.closed = False

    def write(self, data):
        self.written += data

    def read(self, size):
        got = self.answers.pop(0) if self.answers else None
        if isinstance(got, Exception):
            raise got
        return got and got[:size]

    def close(self):
        self.closed = True


class World:
    """A network whose server gives `answers`, and a time that only passes while one waits."""

    def __init__(self, *answers):
        self.sock = Socket(list(answers))
        self.dialled = []
        self.ticks = Ticks()
        self.pieces = []  # how long it let others run

    def random(self, size):
        return NONCE[:size]

    def dial_udp(self, address, port):
        self.dialled.append((address, port))
        return self.sock

    def ask(self):
        """Ask once."""
        sleep_ms = self.ticks.sleep_ms

        async def slept(ms):
            self.pieces.append(ms)
            await sleep_ms(ms)

        self.ticks.sleep_ms = slept
        return drive(self.ticks, network_time(self, self.random, SERVER))


def test_an_answer_is_taken():
    world = World(None, None, answer())
    assert world.ask() == UNIX_S
    assert world.dialled == [(SERVER, 123)]
    assert world.sock.written[40:] == NONCE
    assert world.sock.closed


def test_a_silent_server_holds_nobody_and_is_no_time():
    world = World()
    with raises(OSError, "gives none"):
        world.ask()
    assert sum(world.pieces) == 2000
    assert max(world.pieces) <= 50
    assert world.sock.closed


def test_what_is_no_answer_is_passed_over():
    world = World(answer(origin=bytes(8)), b"x", answer(stratum=0), None, answer())
    assert world.ask() == UNIX_S


def test_a_network_that_fails_closes_the_socket():
    world = World(None, OSError(111))
    with raises(OSError, "111"):
        world.ask()
    assert world.sock.closed
