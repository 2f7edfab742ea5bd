"""Read /config.json and refuse what is wrong in it (docs/configuration.md).

A refusal names the key, says what is wrong and what to write. It never repeats a value: some are
secrets, and the console may be someone else's.
"""

import json
from binascii import crc32, unhexlify

import pins

_REQUIRED = object()
_LEVELS = ("info", "warn", "error")
_OUTPUTS = ("uart_tx", "contactor", "contactor_open", "led")
_INPUTS = ("uart_rx", "button", "contactor_sense", "mains", "tamper")


class ConfigError(ValueError):
    """The configuration is not what the meter needs; the message tells what to write."""


class Config:
    """The configuration, checked. Names are the keys; `_` joins a section's to the section's.

    Without a function: one would keep this module on the heap for as long as its values live.
    """


def load(path):
    """Return the Config in the JSON file `path`. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        raise ConfigError("%s is missing; pair this meter with: parwana pair" % path)
    try:
        data = json.loads(text.decode())
    except ValueError:
        raise ConfigError("%s is not JSON; pair this meter again with: parwana pair" % path)
    return check(data, crc32(text) & 0xFFFFFFFF)


def check(data, crc=0, chip=None):
    """Return the Config that `data`, the parsed JSON, describes. Raises ConfigError.

    `chip` is a name of pins.CHIPS, this board's unless given.
    """
    chip = chip or pins.chip()
    if chip not in pins.CHIPS:
        raise ConfigError("this chip, %s, has no map of pins; use an ESP32, -S3 or -C3" % chip)
    keys = dict(_KEYS)
    keys["pins"] = _pins(chip)
    values = {"uart": pins.CHIPS[chip][0], "no_pull_up": pins.CHIPS[chip][2]}
    _section("", data, keys, values)
    values["pins"] = {name: values.pop("pins_" + name) for name in keys["pins"]}
    if values["permit_threshold"] > len(values["permit_signers"]):
        raise ConfigError("permit_threshold: more than the permit_signers; write fewer")
    if values["closing_s"] % values["interval_s"]:
        raise ConfigError("closing_s: no whole number of intervals; write a shorter interval_s")
    if values["broker_port"] is None:
        values["broker_port"] = 8883 if values["broker_tls"] else 1883
    if values["broker_tls"] and not values["broker_ca"]:
        raise ConfigError("broker.ca: missing with tls; write the path of the CA's certificate")
    fitted = [pin for pin in values["pins"].values() if pin is not None]
    if len(set(fitted)) != len(fitted):
        raise ConfigError("pins: two share one GPIO; give each its own")
    config = Config()
    config.crc32 = crc
    for name, value in values.items():
        setattr(config, name, value)
    return config


def _section(name, data, keys, values):
    """Check the JSON object `name` by its table of keys; add what it holds to `values`."""
    if not isinstance(data, dict):
        raise ConfigError("%s: must be an object; write {...}" % (name or "the file"))
    prefix = name + "." if name else ""
    for key in data:
        if key not in keys:
            raise ConfigError("%s%s: no such key; see docs/configuration.md" % (prefix, key))
    for key, rule in keys.items():
        path = prefix + key
        if isinstance(rule, dict):
            _section(path, data.get(key, {}), rule, values)
            continue
        convert, wanted, default = rule
        if key in data:
            try:
                default = convert(data[key])
            except (ValueError, TypeError):
                raise ConfigError("%s: not accepted; write %s" % (path, wanted))
        elif default is _REQUIRED:
            raise ConfigError("%s: missing; write %s" % (path, wanted))
        values[path.replace(".", "_")] = default


def _number(least, most, step=1):
    def convert(value):
        if type(value) is not int or not least <= value <= most or value % step:
            raise ValueError
        return value

    return convert


def _interval(value):
    if 86400 % _number(60, 86400)(value):
        raise ValueError
    return value


def _text(least, most):
    def convert(value):
        if not isinstance(value, str) or not least <= len(value.encode()) <= most:
            raise ValueError
        return value

    return convert


def _choice(*values):
    def convert(value):
        if not isinstance(value, str) or value not in values:
            raise ValueError
        return value

    return convert


def _flag(value):
    if value is not True and value is not False:
        raise ValueError
    return value


def _wifi_password(value):
    if value != "":
        _text(8, 63)(value)
    return value


def _utility_id(value):
    _text(1, 32)(value)
    for character in value:
        if character not in "abcdefghijklmnopqrstuvwxyz0123456789-":
            raise ValueError
    return value


def _bytes(size):
    def convert(value):
        if not isinstance(value, str):
            raise TypeError
        digits = value[2:] if value.startswith("0x") else value
        if len(digits) != 2 * size:
            raise ValueError
        return unhexlify(digits)

    return convert


def _signers(value):
    keys = [_bytes(64)(key) for key in value] if isinstance(value, list) else []
    if not 1 <= len(keys) <= 8 or len(set(keys)) != len(keys):
        raise ValueError
    return keys


def _sensors(value):
    if not isinstance(value, list) or not 1 <= len(value) <= 3:
        raise ValueError
    sensors = []
    for sensor in value:
        if not isinstance(sensor, dict):
            raise TypeError
        for key in sensor:
            if key not in ("unit_id", "ct_ratio"):
                raise ValueError
        unit_id = _number(1, 247)(sensor.get("unit_id"))
        sensors.append((unit_id, _number(1, 1000)(sensor.get("ct_ratio", 1))))
    if len({unit_id for unit_id, _ in sensors}) != len(sensors):
        raise ValueError
    return sensors


def _pins(chip):
    """Return the rules of the section `pins` on a chip."""
    _, outputs, inputs, defaults = pins.CHIPS[chip]
    rules = {name: _pin(defaults.get(name), outputs) for name in _OUTPUTS}
    for name in _INPUTS:
        rules[name] = _pin(defaults.get(name), outputs + inputs)
    return rules


def _pin(default, free):
    def convert(value):
        if value is not None and (type(value) is not int or value not in free):
            raise ValueError
        if value is None and default is not None:
            raise ValueError
        return value

    return convert, "the number of a GPIO that is free for it: docs/wiring.md", default


_ADDRESS = "40 hex digits"
_KEYS = {
    "utility_id": (_utility_id, "1 to 32 characters of a-z 0-9 -", _REQUIRED),
    "meter": (_bytes(20), _ADDRESS, _REQUIRED),
    "sensors": (_sensors, '1 to 3 of {"unit_id": 1, "ct_ratio": 1}', [(1, 1)]),
    "interval_s": (_interval, "seconds, 60 or more, that divide 86400", 900),
    "closing_s": (_interval, "seconds, 60 or more, that divide 86400", 86400),
    "poll_ms": (_number(200, 10000), "200 to 10000", 1000),
    "utc_offset_s": (_number(-50400, 50400, 60), "-50400 to 50400, in minutes", 0),
    "wifi": {
        "ssid": (_text(1, 32), "the network's name, at most 32 bytes", _REQUIRED),
        "password": (_wifi_password, '8 to 63 characters, or "" for an open network', ""),
    },
    "broker": {
        "host": (_text(1, 253), "the broker's name or address", _REQUIRED),
        "port": (_number(1, 65535), "1 to 65535", None),
        "user": (_text(0, 128), "a text", ""),
        "password": (_text(0, 128), "a text", ""),
        "tls": (_flag, "true or false", False),
        "ca": (_text(0, 64), "the path of a file on the meter", ""),
        "backoff_cap_s": (_number(1, 3600), "1 to 3600", 60),
    },
    "ntp_host": (_text(0, 253), 'a name or address, or "" for none', "pool.ntp.org"),
    "chain_id": (_number(1, 0xFFFFFFFFFFFFFFFF), "the chain's number", _REQUIRED),
    "payment_ledger": (_bytes(20), _ADDRESS, _REQUIRED),
    "permit_threshold": (_number(1, 8), "1 to 8", _REQUIRED),
    "permit_signers": (_signers, "a list of 1 to 8 keys of 128 hex digits", _REQUIRED),
    "contactor": (_choice("plain", "latching"), '"plain" or "latching"', "latching"),
    "journal_frames": (_number(1000, 35136), "1000 to 35136", 35136),
    "log_level": (_choice(*_LEVELS), '"info", "warn" or "error"', "info"),
    "status_s": (_number(1, 3600), "1 to 3600", 60),
    "watchdog_s": (_number(20, 600), "20 to 600", 180),
}
