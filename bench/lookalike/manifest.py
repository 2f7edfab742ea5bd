# What an ESP32's firmware brings along as well.
include("$(MPY_DIR)/extmod/asyncio")  # type: ignore[name-defined]  # noqa: F821
