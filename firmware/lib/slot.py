"""Tell boot.py how a slot that runs on trial fares: /slot holds its name and "try" or "tried"."""

import os


def confirm(path):
    """Make the running slot the one to stay."""
    words = _words(path)
    if len(words) > 1:
        _write(path, words[0])
        print("parwana: slot", words[0], "is well")  # flash.sh waits for it


def postpone(path):
    """Give the slot another trial: this one was interrupted from the console."""
    words = _words(path)
    if words[1:] == ["tried"]:
        _write(path, words[0] + " try")


def _words(path):
    try:
        with open(path) as file:
            return file.read().split()
    except OSError:
        return []


def _write(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)
