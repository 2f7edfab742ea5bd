"""What Home Assistant is told once of each meter: a device with its entities.

Source: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload (2024.11)
"""

from importlib.metadata import version
from typing import Any

from parwana.homeassistant.state import Meter
from parwana.store.frames import CONTROLS

Settings = dict[str, Any]
_KWH: Settings = {
    "device_class": "energy",
    "state_class": "total_increasing",
    "unit_of_measurement": "kWh",
    "suggested_display_precision": 1,
}


def _measured(kind: str, unit: str, digits: int) -> Settings:
    return {
        "device_class": kind,
        "state_class": "measurement",
        "unit_of_measurement": unit,
        "suggested_display_precision": digits,
    }


# What is true only while readings come in
MEASURED = {
    "power": _measured("power", "W", 0),
    "voltage": _measured("voltage", "V", 0),
    "current": _measured("current", "A", 1),
    "frequency": _measured("frequency", "Hz", 1),
    "power_factor": _measured("power_factor", "%", 0),
}
# What stays true: a register that nobody reads stands where it stood
LASTING: dict[str, Settings] = {"energy": _KWH, "measured": {"device_class": "timestamp"}}
OF_HOUSES: dict[str, Settings] = {
    "supply": {"device_class": "enum", "options": list(CONTROLS)},
    "permit_end": {"device_class": "timestamp"},
}
_NAMES = {
    "power_factor": "Power factor",
    "permit_end": "Permit end",
    "due": "Amount due",
    "measured": "Last reading",
}


def device(
    meter: Meter, state_topic: str, here: str, measuring: str, currency: str
) -> dict[str, Any]:
    """Return the discovery message. `here` and `measuring` are topics of availability."""
    houses: dict[str, Settings] = {}
    if meter.kind == "house":
        houses = {
            **OF_HOUSES,
            "due": {"device_class": "monetary", "unit_of_measurement": currency},
        }
    components: dict[str, Settings] = {}
    for name, settings in {**LASTING, **MEASURED, **houses}.items():
        topics = [here, measuring] if name in MEASURED else [here]
        components[name] = {
            "platform": "sensor",
            "unique_id": f"{meter.id}_{name}",
            "name": _NAMES.get(name, name.capitalize()),
            "value_template": f"{{{{ value_json.{name} }}}}",
            "availability": [{"topic": topic} for topic in topics],
            "availability_mode": "all",
            **settings,
        }
    components["measured"]["entity_category"] = "diagnostic"
    about = {
        "identifiers": [meter.id],
        "name": f"{meter.kind.capitalize()} {meter.number}",
        "manufacturer": "Parwana",
        "model": f"{meter.kind} meter",
        "serial_number": "0x" + meter.address.hex(),
    }
    return {
        "device": about | ({"sw_version": meter.version} if meter.version else {}),
        "origin": {"name": "parwana", "sw_version": version("parwana")},
        "components": components,
        "state_topic": state_topic,
        "qos": 1,
    }
