"""Test config: what a short file gives, and that every mistake is named and no secret told."""

import json
import os

import config

from hil_tests.firmware.check import raises

KEY_A = "0a" * 64
KEY_B = "0b" * 64
SECRET = "correct horse battery"


def short():
    return {
        "utility_id": "kalpa-1",
        "meter": "0x" + "Ab" * 20,
        "wifi": {"ssid": "mast"},
        "broker": {"host": "10.0.0.2"},
        "chain_id": 31337,
        "payment_ledger": "cd" * 20,
        "permit_threshold": 1,
        "permit_signers": [KEY_A, KEY_B],
    }


def test_short_file_gets_defaults():
    c = config.check(short())
    assert c.utility_id == "kalpa-1"
    assert c.meter == b"\xab" * 20
    assert c.payment_ledger == b"\xcd" * 20
    assert c.permit_signers == [b"\x0a" * 64, b"\x0b" * 64]
    assert c.sensors == [(1, 1)]
    assert (c.interval_s, c.poll_ms, c.utc_offset_s) == (900, 1000, 0)
    assert (c.wifi_ssid, c.wifi_password) == ("mast", "")
    assert (c.broker_host, c.broker_port, c.broker_tls) == ("10.0.0.2", 1883, False)
    assert (c.contactor, c.log_level, c.watchdog_s) == ("latching", "info", 180)
    assert c.pins["contactor"] == 25
    assert c.pins["mains"] is None


def test_says_what_is_written():
    data = short()
    data["sensors"] = [{"unit_id": 7}, {"unit_id": 8, "ct_ratio": 40}]
    data["wifi"]["password"] = SECRET
    data["broker"].update(tls=True, ca="/ca.der", user="m", password=SECRET)
    data["pins"] = {"contactor": 27, "mains": 34}
    c = config.check(data)
    assert c.sensors == [(7, 1), (8, 40)]
    assert c.wifi_password == SECRET
    assert (c.broker_port, c.broker_ca) == (8883, "/ca.der")
    assert (c.pins["contactor"], c.pins["mains"], c.pins["led"]) == (27, 34, 32)


def refused(words, **changes):
    data = short()
    data.update(changes)
    with raises(config.ConfigError, words):
        config.check(data)


def test_names_what_is_missing():
    for key in ("utility_id", "meter", "chain_id", "payment_ledger", "permit_signers"):
        data = short()
        del data[key]
        with raises(config.ConfigError, key + ": missing; write"):
            config.check(data)
    refused("wifi.ssid: missing", wifi={})
    refused("broker.host: missing", broker={})


def test_refuses_unknown_keys():
    refused("brokr: no such key", brokr={})
    refused("wifi.pass: no such key", wifi={"ssid": "mast", "pass": SECRET})
    refused("pins.relay: no such key", pins={"relay": 4})


def test_closings_are_daily_unless_it_says_otherwise():
    data = short()
    assert config.check(data).closing_s == 86400
    data["closing_s"] = 3600
    assert config.check(data).closing_s == 3600


def test_refuses_bad_values():
    refused("utility_id:", utility_id="Kalpa")
    refused("utility_id:", utility_id="k" * 33)
    refused("meter:", meter="ab" * 19)
    refused("meter:", meter="zz" * 20)
    refused("meter:", meter=7)
    refused("interval_s:", interval_s=7 * 60)
    refused("closing_s:", closing_s=7 * 3600)
    refused("closing_s:", closing_s=True)
    refused("closing_s:", closing_s=3600, interval_s=7200)
    refused("interval_s:", interval_s=30)
    refused("interval_s:", interval_s=True)
    refused("interval_s:", interval_s="900")
    refused("poll_ms:", poll_ms=100)
    refused("sensors:", sensors=[])
    refused("sensors:", sensors=[{"unit_id": 1}, {"unit_id": 1}])
    refused("sensors:", sensors=[{"unit_id": 248}])
    refused("sensors:", sensors=[{"unit_id": 1, "ct": 2}])
    refused("sensors:", sensors={"unit_id": 1})
    refused("wifi.password:", wifi={"ssid": "mast", "password": "short"})
    refused("wifi: must be an object", wifi="mast")
    refused("broker.port:", broker={"host": "h", "port": 0})
    refused("broker.tls:", broker={"host": "h", "tls": 1})
    refused("broker.ca:", broker={"host": "h", "tls": True})
    refused("permit_threshold:", permit_threshold=3)
    refused("permit_threshold:", permit_threshold=0)
    refused("permit_signers:", permit_signers=[])
    refused("permit_signers:", permit_signers=[KEY_A, KEY_A])
    refused("permit_signers:", permit_signers=KEY_A)
    refused("contactor:", contactor="solid")
    refused("pins.contactor:", pins={"contactor": 12})
    refused("pins.contactor:", pins={"contactor": None})
    refused("pins.contactor:", pins={"contactor": 34})
    refused("pins: two share", pins={"contactor": 26})


def test_never_echoes_a_value():
    for section in (
        {"wifi": {"ssid": "mast", "password": SECRET * 9}},
        {"broker": {"host": "h", "password": [SECRET]}},
        {"broker": {"host": "h", "port": SECRET}},
        {"chain_id": SECRET},
    ):
        data = short()
        data.update(section)
        message = ""
        try:
            config.check(data)
        except config.ConfigError as error:
            message = str(error)
        assert "; write " in message
        assert SECRET not in message


def test_reads_the_file():
    path = "config-test.json"
    try:
        with raises(config.ConfigError, "is missing"):
            config.load(path)
        with open(path, "w") as file:
            file.write("pair me")
        with raises(config.ConfigError, "is not JSON"):
            config.load(path)
        with open(path, "wb") as file:
            file.write(b'{"utility_id": "\xff"}')
        with raises(config.ConfigError):
            config.load(path)
        with open(path, "w") as file:
            json.dump(short(), file)
        first = config.load(path).crc32
        data = short()
        data["status_s"] = 5
        with open(path, "w") as file:
            json.dump(data, file)
        assert config.load(path).crc32 != first
    finally:
        os.remove(path)
