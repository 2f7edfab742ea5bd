"""Tell boot.py how the running slot fares: /slot holds its name, and a word until it is well."""

import sys

import records


def confirm(path, made_room=None):
    """Make the running slot the one to stay; return whether that could be written."""
    if len(words(path)) < 2:
        return True
    named = running(path)
    if not _write(path, named, made_room):
        return False
    print("parwana: slot", named, "is well")  # flash.sh waits for it
    return True


def postpone(path):
    """Count no run: this one was interrupted from the console."""
    found = words(path)
    if found[1:] == ["tried"]:
        _write(path, found[0] + " try")
    elif found[1:] and found[1].isdigit():
        _write(path, found[0])


def attempt(path):
    """Have boot.py run the other slot, on trial; return whether that could be written."""
    return _write(path, ("a" if running(path) == "b" else "b") + " try")


def running(path):
    """Return the slot that boot.py put on the path: another than named where it cannot write."""
    for slot in "ab":
        if "/" + slot in sys.path:
            return slot
    return words(path)[0] if words(path) else "a"


def words(path):
    """Return what /slot says: a slot's name and at most one word."""
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
