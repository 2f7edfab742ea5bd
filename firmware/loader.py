"""Start the firmware of the slot that boot.py chose. Flashed as /main.py."""

if not globals().get("SERVICE"):
    try:
        import archive

        archive.open_slot(_slot)  # noqa: F821  boot.py's, as go_back
        import main

        archive.close()
        del archive
        app = main.start()
    except Exception as error:
        go_back(error)  # noqa: F821
