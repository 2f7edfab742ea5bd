"""One format for what services log, without passwords; a trouble is told once, and its end."""

import json
import logging
import re
import subprocess
import sys
import threading

import pytest

from parwana.world import logs
from parwana.world.logs import Trouble, redacted, span

LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "


class Hands:
    """A clock that a test turns."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def heard() -> tuple[logging.Logger, list[str]]:
    """Lend a logger, and the lines of it."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.levelname} {record.getMessage()}")

    log = logging.Logger("parwana.test")
    log.addHandler(Keep())
    return log, lines


def test_a_trouble_is_told_once_then_at_growing_intervals_and_its_end_with_how_long(heard) -> None:
    log, lines = heard
    clock = Hands()
    trouble = Trouble(log, "chain", clock)
    for _ in range(8 * 60):
        trouble.failed("the node at 127.0.0.1:8545 does not answer")
        clock.now_s += 1
    assert trouble.text == "the node at 127.0.0.1:8545 does not answer"
    clock.now_s += 3600
    trouble.over()
    trouble.over()
    assert trouble.text == ""
    said = "WARNING chain: the node at 127.0.0.1:8545 does not answer"
    assert lines == [
        said,
        f"{said} (60 times in 60 s)",
        f"{said} (120 times in 2 min)",
        f"{said} (240 times in 4 min)",
        "INFO chain: works again after 68 min, 480 failures",
    ]


def test_what_changed_is_news_but_not_a_number_in_it(heard) -> None:
    log, lines = heard
    trouble = Trouble(log, "chain", Hands())
    for block in range(5):
        trouble.failed(f"no block {block}")
        trouble.failed(f"meter 0x{block:040x} is busy")
    assert lines == ["WARNING chain: no block 0", f"WARNING chain: meter 0x{0:040x} is busy"]


def test_a_line_is_not_repeated_by_whoever_logs_it(heard, monkeypatch) -> None:
    log, lines = heard
    clock = Hands()
    monkeypatch.setattr(logs.time, "monotonic", clock)
    log.handlers[0].addFilter(logs._Once())
    for _ in range(61):
        log.info("feeder %d: %s", 100, "the chain's clock is behind")
        log.info("feeder %d: %s", 200, "the chain's clock is behind")
        clock.now_s += 1
    said = "the chain's clock is behind"
    assert lines == [
        f"INFO feeder 100: {said}",
        f"INFO feeder 200: {said}",
        f"INFO feeder 100: {said} (60 times in 60 s)",
        f"INFO feeder 200: {said} (60 times in 60 s)",
    ]
    log.info("frames %d", 7)
    log.info("frames %d", 8)
    log.info("1 signed", extra=logs.NEWS)
    log.info("1 signed", extra=logs.NEWS)
    assert lines[-4:] == ["INFO frames 7", "INFO frames 8", "INFO 1 signed", "INFO 1 signed"]
    clock.now_s += 3600
    log.info("feeder %d: %s", 100, said)
    assert lines[-1] == f"INFO feeder 100: {said}"


def test_what_comes_and_goes_does_not_fill_the_log(heard) -> None:
    log, lines = heard
    clock = Hands()
    trouble = Trouble(log, "broker", clock)
    for _ in range(3600):
        trouble.failed("kicked")
        clock.now_s += 0.5
        trouble.over()
        clock.now_s += 0.5
    assert len(lines) <= 14, lines
    clock.now_s += 61
    trouble.failed("kicked")
    assert lines[-1] == "WARNING broker: kicked"


def test_texts_without_end_do_not_fill_the_memory(heard) -> None:
    trouble = Trouble(heard[0], "x", Hands())
    for i in range(26**3):
        trouble.failed("".join(chr(97 + i // 26**k % 26) for k in range(3)))
    assert len(trouble._repeats._known) <= 64


def test_many_threads_count_every_failure(heard) -> None:
    log, lines = heard
    trouble = Trouble(log, "x", Hands())
    threads = [
        threading.Thread(target=lambda: list(map(trouble.failed, ["a"] * 500))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trouble.over()
    assert lines == ["WARNING x: a", "INFO x: works again after 0 s, 2000 failures"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(4, "4 s"), (119, "119 s"), (720, "12 min"), (12000, "3 h 20 min")]
)
def test_a_span_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("to mqtts://svc:p%40s:w@host:1, to", "to mqtts://svc:…@host:1, to"),
        ("postgresql+psycopg://u:hid@den@h/x", "postgresql+psycopg://u:…@h/x"),
        ("https://n.example/v3/0123456789abcdefABCD: no", "https://n.example/v3/…: no"),
        ("https://n.example/?apikey=0123 and", "https://n.example/?… and"),
        ("http://127.0.0.1:8545 mqtt://h:1/a@b", "http://127.0.0.1:8545 mqtt://h:1/a@b"),
    ],
)
def test_no_password_and_no_key_of_a_url_is_told(text: str, said: str) -> None:
    assert redacted(text) == said


def test_a_service_logs_utc_level_name_and_text_on_stderr() -> None:
    code = (
        "import logging\n"
        "from parwana.world import logs\n"
        "logs.start(logs.Level.INFO)\n"
        "log = logging.getLogger('parwana.relay')\n"
        "log.debug('not asked for')\n"
        "log.info('to mqtt://u:sesame@h')\n"
        "logging.getLogger('urllib3').info('a stranger')\n"
        "try: raise ValueError('postgresql://u:sesame@h/x')\n"
        "except ValueError as error: logs.Trouble(log, 'chain').failed('a bug', bug=error)\n"
    )
    env = {"TZ": "Asia/Kolkata", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    first, second, *rest = done.stderr.splitlines()
    assert re.fullmatch(LINE + "INFO parwana.relay: to mqtt://u:…@h", first)
    assert re.fullmatch(LINE + "ERROR parwana.relay: chain: a bug", second)
    assert rest[0].startswith("Traceback")
    assert "sesame" not in done.stderr
    assert "stranger" not in done.stderr


def test_a_level_is_one_of_four(capsys) -> None:
    from parwana import cli

    assert cli.main(["relay", "--deployment", "x", "--log-level", "loud"]) == 2
    said = capsys.readouterr().err
    assert all(level in said for level in ("debug", "info", "warning", "error"))


def test_a_line_is_json_where_that_is_asked_for() -> None:
    """One object a line, whatever is in the text; no password in it, and the traceback inside."""
    code = (
        "import logging; from parwana.world import logs; logs.start(form=logs.Form.JSON)\n"
        "log = logging.getLogger('parwana.test')\n"
        "log.info('two\\nlines of \"%s\"', 'postgresql://kalpa:sesame@db/kalpa')\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n"
        "    log.exception('mqtt://a:sesame@b broke')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert re.fullmatch(LINE.strip(), first.pop("time"))
    assert first == {
        "level": "INFO",
        "name": "parwana.test",
        "text": 'two\nlines of "postgresql://kalpa:…@db/kalpa"',
    }
    assert second["level"] == "ERROR"
    assert "ZeroDivisionError" in second["traceback"]
    assert "sesame" not in done.stderr
