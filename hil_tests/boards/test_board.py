"""The devkit's parts on a virtual board, where no whole meter is needed."""

import json
import time
from pathlib import Path

from boards.virtual.board import VirtualBoard
from hil_tests.boardkit import TIMEOUT_S
from hil_tests.meterkit import configuration, firmware_files, make_image
from parwana.meter.repl import connect

_PULSES = """
import sys
sys.path[:] = ['/a', '/a/lib', '', '.frozen', '/lib']
import board, config, time
contactor = board.build(config.load('/config.json')).contactor
while True:
    contactor.set(True)
    contactor.set(False)
    time.sleep_ms(50)
"""


def test_ctrl_c_never_leaves_a_coil_under_current(tmp_path: Path) -> None:
    files = {**firmware_files(), "/config.json": json.dumps(configuration(1)).encode()}
    (tmp_path / "flash.img").write_bytes(make_image(files))
    with VirtualBoard(tmp_path) as board:
        board.power_on()
        board.wait_console("for service", TIMEOUT_S)
        for _ in range(3):
            moved = len(board.contactor_changes)
            with connect(board.serial_port) as meter:
                meter._transport.exec_raw_no_follow(_PULSES)
                while len(board.contactor_changes) < moved + 4:
                    time.sleep(0.02)
                meter.stop()
                assert (board.pin("close"), board.pin("open")) == (0, 0)
