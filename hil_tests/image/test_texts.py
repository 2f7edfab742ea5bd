"""Refusals that tell numbers say less on a meter; all others say what they said."""

from parwana.image import firmware, texts


def test_what_tells_numbers_says_less() -> None:
    source = 'def f(n):\n    raise FrameError(\n        "has %d bytes" % n\n    )\n'
    less = 'def f(n):\n    raise FrameError("malformed")\n\n\n'
    assert texts.shorten({"a.py": source}) == {"a.py": less}


def test_what_tells_none_and_other_errors_stay() -> None:
    source = 'raise FrameError("paste the line again")\nraise OSError("%d" % n)\nraise error\n'
    assert texts.shorten({"a.py": source}) == {"a.py": source}


def test_people_at_the_console_still_read_what_to_do() -> None:
    sources = firmware.trimmed(now_s=0)
    assert "paste the line again" in sources["lib/wire/messages.py"]
    assert "must have 40" not in sources["lib/wire/frames.py"]
