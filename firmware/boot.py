"""Leave a way in, then choose the firmware's slot. Flashed as /boot.py; see docs/architecture.md.

/slot holds the slot's name and at most one word: "try" (run it, once), "tried" (it ran, and has
not reported itself healthy: go back), a number (so many resets came since it last did; after 3 go
to the other) or "stay" (the other has failed: there is no better one). The slot takes the word
away when it is healthy. Whatever is wrong ends at the console, with a line that says what. A soft
reset is a person at the console: it neither waits nor counts as a run.
"""

import sys

sys.path[:] = [".frozen", ""]  # else what is built in is looked for on the flash first

import os  # noqa: E402
import time  # noqa: E402

import machine  # noqa: E402
import vfs  # noqa: E402

_WINDOW_MS = 500
_LET_GO_MS = 5000
_GO_BACK_MS = 5000
_RESETS_MOST = 3
_GUARD_MS = 600000
_MAINS = ("/main.mpy", "/main.py")  # of a slot that is a folder
_BUTTONS = {"ESP32S3": 7, "ESP32C3": 4}  # as pins.py, which may be what is broken
_BUTTON = 33  # of an ESP32


def _asked():
    """Return whether someone asks for service: Ctrl-C, or the button held, then let go.

    A button that is stuck, or a pin that nothing pulls up, must not keep the meter from its work.
    """
    name = getattr(sys.implementation, "_machine", "").replace("-", "").upper()
    pin = _BUTTON
    for chip in _BUTTONS:
        if chip in name:
            pin = _BUTTONS[chip]
    button = machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP)
    print("parwana: Ctrl-C or the button now for service")
    held = not button.value()
    time.sleep_ms(_WINDOW_MS)
    if not held or button.value():
        return False
    print("parwana: let the button go for service")
    for _ in range(_LET_GO_MS // 100):
        time.sleep_ms(100)
        if button.value():
            return True
    print("parwana: the button is stuck")
    return False


def _mount():
    """Mount the flash again, so that littlefs reads it in pieces of 128 bytes instead of 32.

    A name in a folder, and a record of 512 bytes, then cost a quarter of the operations. A map of
    all 512 blocks has littlefs look for free ones once; times of files nobody reads.
    """
    try:
        from flashbdev import bdev

        flash = vfs.VfsLfs2(bdev, readsize=128, lookahead=64, mtime=False)
        vfs.umount("/")
        vfs.mount(flash, "/")
        os.chdir("/")
    except Exception as error:
        print("parwana: the flash stays as it is mounted:", repr(error))


def _has_firmware(slot):
    path = "/" + slot
    return _is_there(path + ".fw") or any(_is_there(path + main) for main in _MAINS)


def _is_there(path):
    try:
        return bool(os.stat(path))
    except OSError:
        return False


def _write(text):
    """Replace /slot; return whether it could be."""
    try:
        with open("/slot.new", "w") as file:
            file.write(text)
        os.rename("/slot.new", "/slot")
    except OSError as error:
        print("parwana: /slot cannot be written:", repr(error))
        return False
    return True


def _words():
    try:
        with open("/slot") as file:
            return file.read().split()
    except (OSError, ValueError):
        return []


def _choose(running):
    """Return the slot to run, None if there is none; `running` tells that it will really run."""
    words = _words()
    slot = words[0] if words and words[0] in ("a", "b") else "a"
    other = "b" if slot == "a" else "a"
    if not _has_firmware(slot):
        slot, other, words = other, slot, []
        if not _has_firmware(slot):
            return None
    if not running or not _has_firmware(other):
        return slot
    if words[1:] == ["try"] and not _write(slot + " tried"):
        return other  # a trial that cannot be noted could not be ended
    if words[1:] == ["tried"]:
        print("parwana: slot", slot, "did not report itself healthy; back to", other)
        _write(other + " stay")
        return other
    if words[1:] in (["try"], ["stay"]):
        return slot
    return _after_reset(slot, other, words[1:])


def _after_reset(slot, other, count):
    """Return the other slot if this one has been reset too often; a power cut is no such reset."""
    if machine.reset_cause() not in (machine.WDT_RESET, machine.HARD_RESET):
        return slot
    count = int(count[0]) if count and count[0].isdigit() else 0
    if count < _RESETS_MOST:
        _write("%s %d" % (slot, count + 1))
        return slot
    print("parwana: slot", slot, "was reset", count, "times before it was healthy; to", other)
    _write(other + " stay")
    return other


def go_back(error):
    """Leave a slot that does not start for the other; raise `error` where there is no better one.

    It would end at a console where nobody is, and no watchdog runs yet.
    """
    other = "b" if _slot == "a" else "a"
    better = not _soft and _words()[1:] != ["stay"] and _has_firmware(other)
    if better and _write(_slot + " tried"):
        sys.print_exception(error)
        print("parwana: slot", _slot, "does not start; restart soon, Ctrl-C for the console")
        time.sleep_ms(_GO_BACK_MS)
        machine.reset()
    print("parwana: slot", _slot, "does not start")
    raise error


SERVICE = False
_soft = False
_slot = None
try:
    _soft = machine.reset_cause() == machine.SOFT_RESET
    SERVICE = not _soft and _asked()
except KeyboardInterrupt:
    SERVICE = True
try:
    if not SERVICE:
        _mount()
    if _is_there("/config.json"):
        # Whatever follows, a paired meter is not left at the console, nor hangs in an import.
        machine.WDT(timeout=_GUARD_MS)
    _slot = _choose(not _soft and not SERVICE)
    if not _slot:
        SERVICE = True
        print("parwana: no firmware in slot a or b; run flash.sh")
except (Exception, KeyboardInterrupt) as error:
    SERVICE = True
    print("parwana: boot.py failed; run flash.sh:", repr(error))
if SERVICE or _soft:  # a person at the console can import from the slot
    sys.path[:] = ["", ".frozen", "/lib"]
    try:
        import archive

        archive.open_slot(_slot)
    except Exception as error:
        print("parwana: nothing can be imported from the slot:", repr(error))
if SERVICE:
    print("parwana: service mode; the contactor is not touched")
    raise KeyboardInterrupt  # after an exception here no main.py is run, not even a broken one
