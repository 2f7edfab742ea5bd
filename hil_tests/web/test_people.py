"""Users, sessions, links and challenges, without a server."""

from pathlib import Path

import pytest

from parwana.web.doors import owners
from parwana.web.limits import Limiter
from parwana.web.people import CHALLENGE_S, INVITE_S, OWNER, STAFF, STAFF_S, People, PeopleError

PASSWORD = "correct horse"


class Clock:
    """A clock that a test moves."""

    now_s = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people(tmp_path: Path, clock: Clock) -> People:
    return People(tmp_path, clock)


def test_an_invitation_makes_one_user_once(people: People) -> None:
    token = people.invite()
    assert people.is_invited(token)
    with pytest.raises(PeopleError, match="10 letters"):
        people.join(token, "asha", "short")
    seat = people.seat(people.join(token, " asha ", PASSWORD))
    assert seat is not None
    assert (seat.kind, seat.who) == (STAFF, "asha")
    assert not people.is_invited(token)
    with pytest.raises(PeopleError, match="was used"):
        people.join(token, "other", PASSWORD)
    again = people.invite()
    with pytest.raises(PeopleError, match="name already"):
        people.join(again, "asha", PASSWORD)
    assert people.is_invited(again)  # nothing was lost by that


def test_an_invitation_and_a_session_end(people: People, clock: Clock) -> None:
    late = people.invite()
    session = people.join(people.invite(), "asha", PASSWORD)
    clock.now_s += STAFF_S + 1
    assert people.seat(session) is None
    clock.now_s += INVITE_S
    with pytest.raises(PeopleError, match="too old"):
        people.join(late, "ravi", PASSWORD)


def test_a_wrong_password_or_name_opens_nothing(people: People) -> None:
    people.join(people.invite(), "asha", PASSWORD)
    assert people.login("asha", PASSWORD + "x") is None
    assert people.login("nobody", PASSWORD) is None
    assert people.login("asha", "") is None
    token = people.login("asha", PASSWORD)
    assert token is not None
    assert people.seat(token) is not None
    people.leave(token)
    assert people.seat(token) is None


def test_a_link_opens_until_it_is_revoked_or_made_anew(people: People) -> None:
    first = people.link(17)
    opened = people.opened(first)
    assert opened is not None
    seat = people.seat(opened[1])
    assert seat is not None
    assert (seat.kind, seat.number) == (OWNER, 17)
    second = people.link(17)
    assert people.opened(first) is None
    assert people.seat(opened[1]) is None  # who came in by the old one is out, too
    assert people.has_link(17)
    people.unlink(17)
    assert people.opened(second) is None
    assert not people.has_link(17)


def test_a_challenge_is_answered_once_in_time_for_one_meter(people: People, clock: Clock) -> None:
    nonce, text = people.challenge("0xaa", lambda n: f"sign {n}")
    assert text == f"sign {nonce}"
    assert people.answered(nonce, "0xbb") is None
    assert people.answered(nonce, "0xaa") is None  # asked for once
    nonce, text = people.challenge("0xaa", lambda n: f"sign {n}")
    assert people.answered(nonce, "0xaa") == text
    nonce, text = people.challenge("0xaa", lambda n: f"sign {n}")
    clock.now_s += CHALLENGE_S + 1
    assert people.answered(nonce, "0xaa") is None


def test_the_file_holds_no_token_and_only_its_owner_reads_it(
    people: People, tmp_path: Path
) -> None:
    session = people.join(people.invite(), "asha", PASSWORD)
    tokens = [people.invite(), people.link(17), session]
    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for token in (*tokens, PASSWORD):
        assert token.encode() not in held
    assert (tmp_path / "people.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("payers", "found"),
    [
        ([], set()),
        (["0xA"], {"0xa"}),
        (["0xB", "0xA"], {"0xb"}),
        (["0xB", "0xA", "0xA"], set()),  # somebody who paid one bill of a neighbour
        (["0xA", "0xB", "0xA"], {"0xa"}),
        (["0xB", "0xB", "0xA", "0xA"], {"0xb"}),  # a new household
        (["0xA", "0xB", "0xB", "0xB"], set()),
        (["0xA"] * 3 + ["0xB"] * 9, {"0xa"}),
    ],
)
def test_whose_house_it_is_by_who_paid(payers: list[str], found: set[str]) -> None:
    assert owners(payers) == found


def test_a_limiter_lets_some_pass_and_then_one_at_a_time(clock: Clock) -> None:
    limiter = Limiter(3, 10, clock)
    assert [limiter.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert limiter.take("b")
    clock.now_s += 10
    assert [limiter.take("a") for _ in range(2)] == [True, False]
    clock.now_s += 1000
    assert [limiter.take("a") for _ in range(4)] == [True, True, True, False]
