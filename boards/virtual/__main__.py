"""Run one virtual board until Ctrl-C: python -m boards.virtual --folder build/board"""

import argparse
import contextlib
import signal
import sys
import threading
from pathlib import Path

from boards.virtual.board import BoardError, VirtualBoard
from boards.virtual.lines import Wiring
from boards.virtual.load import House, Profile
from boards.virtual.pzem import COMMANDS, Pzem, PzemEmulator, obey, watts
from parwana.world.clock import ClockError, WorldClock
from parwana.world.runtime import RuntimeMissing


def main() -> int:
    """Power a board on and say where its ports are."""
    parser = argparse.ArgumentParser(
        prog="python -m boards.virtual",
        description="Run a virtual ESP32 devkit. It lives on in its folder.",
        epilog=f"Commands: {COMMANDS}. Enter tells what the sensor counts. "
        "example: python -m boards.virtual --folder build/board --watts 800, "
        "then: mpremote connect build/board/serial",
    )
    parser.add_argument("--folder", type=Path, required=True, help="where its flash and ports are")
    parser.add_argument("--clock", help="start_s:real_start_s:factor; default: PARWANA_CLOCK")
    parser.add_argument("--contactor", choices=("latching", "plain"), default="latching")
    parser.add_argument("--sense", type=int, help="GPIO of the contactor's auxiliary contact")
    parser.add_argument("--ssid", default="parwana", help="the network in reach")
    parser.add_argument("--password", default="parwana-bench", help="its password")
    parser.add_argument(
        "--watts",
        type=watts,
        help="also emulate its sensor, with a house of this load behind the contactor; standard "
        "input then takes commands, one a line",
    )
    parser.add_argument(
        "--line",
        action="store_true",
        help="what the sensor measures is a feeder: no contactor interrupts it",
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        clock = WorldClock.parse(options.clock) if options.clock else WorldClock.from_environment()
        house = House(Profile([options.watts or 0], clock.now()), clock)

        def follow(closed: bool) -> None:
            house.closed = closed or options.line

        with VirtualBoard(
            options.folder,
            clock,
            wiring=Wiring(contactor=options.contactor, sense=options.sense),
            ssid=options.ssid,
            password=options.password,
            on_contactor=follow,
        ) as board:
            board.power_on()
            print(f"serial console  {board.serial_port}")
            print(f"UART 2 (PZEM)   {board.uart_port}")
            print(f"console log     {board.log_path}", flush=True)
            if options.watts is not None:
                house.closed = options.line or board.contactor
                _measure(board, house, clock)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except (BoardError, ClockError, OSError, RuntimeMissing) as error:
        print(f"parwana: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(board: VirtualBoard, house: House, clock: WorldClock) -> None:
    """Let the board's sensor measure a house, as the lines of standard input say."""
    with PzemEmulator(str(board.uart_port), [Pzem(house)]) as sensor:
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
        with contextlib.suppress(OSError):  # in the background nobody types
            obey(sys.stdin, sensor, house, clock)
        threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
