"""Start the firmware of the slot that boot.py chose. Flashed as /main.py."""

if not globals().get("SERVICE"):
    try:
        import main

        app = main.start()
    except Exception as error:
        go_back(error)  # noqa: F821  (boot.py's)
