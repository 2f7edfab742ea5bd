# ruff: noqa: F821
# mypy: disable-error-code="name-defined"
"""What an ESP32's firmware brings along: asyncio, and the names of what is built into it.

The virtual board stands in for machine, network and so on with files that it loads; frozen here,
out of the way, their names cost no heap, as on an ESP32.
"""

include("$(MPY_DIR)/extmod/asyncio")
package("inside", base_path="$(BOARDS)")
package("umqtt", base_path="$(UMQTT)")
