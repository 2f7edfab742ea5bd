"""What happens between power and the first line of boot.py."""

import gc
import os
import sys
import vfs

import chip
import chipflash
import console
import flashbdev
import machine
import network
import ntptime  # noqa: F401  built in, as on an ESP32
import registers
import socket  # noqa: F401
import time  # noqa: F401


def _message(code, level):
    if code == registers.MESSAGE_NETWORK:
        network.on_message(level)
    else:
        machine._on_message(code, level)


def _mount(flash):
    flashbdev.bdev = flash
    os.umount("/")
    if flash.blank():
        vfs.VfsLfs2.mkfs(flash)
        vfs.mount(flash, "/")
        with open("/boot.py", "w") as file:
            file.write("# This file is executed on every boot\n")
        return
    try:
        vfs.mount(flash, "/")
    except OSError:
        print("The filesystem appears to be corrupted. Erase the flash and start afresh.")


def on(arguments, names):
    """Start the board; programs run in the namespace `names`. Does not return."""
    image, register_file, events, uart, mode = arguments
    chip.start(register_file, int(events))
    chip.on_message(_message)
    network.on_message(chip.regs[registers.NETWORK])
    machine._uart_descriptor = int(uart)
    _mount(chipflash.Flash(image))
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    sys.argv[:] = []
    for module in ("chip", "chipflash", "console", "power", "registers"):
        del sys.modules[module]
    for name in list(names):
        if not name.startswith("__"):
            del names[name]
    console.scope(names)
    gc.collect()
    raw = mode == "r"
    try:
        if console.run_file("boot.py") and not raw:
            console.run_file("main.py")
        raw = console.serve(raw)
    except console.SoftReset:
        print("MPY: soft reboot")
    chip.halt(registers.EXIT_SOFT_RAW if raw else registers.EXIT_SOFT)
