"""Tell boot.py how the running slot fares: /slot holds its name, and a word until it is well."""

import sys

import records


def confirm(path, made_room=None):
    """Make the running slot the one to stay; return whether that could be written."""
    words = _words(path)
    if len(words) < 2:
        return True
    running = _running(words[0])
    if not _write(path, running, made_room):
        return False
    print("parwana: slot", running, "is well")  # flash.sh waits for it
    return True


def postpone(path):
    """Count no run: this one was interrupted from the console."""
    words = _words(path)
    if words[1:] == ["tried"]:
        _write(path, words[0] + " try")
    elif words[1:] and words[1].isdigit():
        _write(path, words[0])


def _running(named):
    """Return the slot that boot.py put on the path: another than named where it cannot write."""
    for slot in "ab":
        if "/" + slot in sys.path:
            return slot
    return named


def _words(path):
    try:
        with open(path) as file:
            return file.read().split()
    except (OSError, ValueError):
        return []


def _write(path, text, made_room=None):
    try:
        records.replace(path, text.encode(), made_room)
        return True
    except OSError as error:
        print("parwana: %s cannot be written: %s" % (path, error))
        return False
