"""Run one virtual board until Ctrl-C: python -m boards.virtual --folder build/board"""

import argparse
import signal
import sys
import threading
from pathlib import Path

from boards.virtual.board import BoardError, VirtualBoard
from boards.virtual.lines import Wiring
from parwana.world.clock import ClockError, WorldClock
from parwana.world.runtime import RuntimeMissing


def main() -> int:
    """Power a board on and say where its ports are."""
    parser = argparse.ArgumentParser(
        prog="python -m boards.virtual",
        description="Run a virtual ESP32 devkit. It lives on in its folder.",
        epilog="example: python -m boards.virtual --folder build/board, "
        "then: mpremote connect build/board/serial",
    )
    parser.add_argument("--folder", type=Path, required=True, help="where its flash and ports are")
    parser.add_argument("--clock", help="start_s:real_start_s:factor; default: PARWANA_CLOCK")
    parser.add_argument("--contactor", choices=("latching", "plain"), default="latching")
    parser.add_argument("--sense", type=int, help="GPIO of the contactor's auxiliary contact")
    parser.add_argument("--ssid", default="parwana", help="the network in reach")
    parser.add_argument("--password", default="parwana-bench", help="its password")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        clock = WorldClock.parse(options.clock) if options.clock else WorldClock.from_environment()
        with VirtualBoard(
            options.folder,
            clock,
            wiring=Wiring(contactor=options.contactor, sense=options.sense),
            ssid=options.ssid,
            password=options.password,
        ) as board:
            board.power_on()
            print(f"serial console  {board.serial_port}")
            print(f"UART 2 (PZEM)   {board.uart_port}")
            print(f"console log     {board.log_path}", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except (BoardError, ClockError, OSError, RuntimeMissing) as error:
        print(f"parwana: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
