"""Start the firmware of the slot that boot.py chose. Flashed as /main.py."""

if not globals().get("SERVICE"):
    import main

    app = main.start()
