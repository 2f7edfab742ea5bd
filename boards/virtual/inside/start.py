"""Power or reset comes on. Arguments: flash image, register file, events fd, UART fd, mode.

Mode is "f" (friendly) or "r": a soft reset asked for in the raw REPL, which runs no main.py.
"""

import sys

import power

power.on(sys.argv[1:], globals())
