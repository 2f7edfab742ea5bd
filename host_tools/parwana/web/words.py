"""What a meter's events and a permit mean, in words for people; msgids of the catalogues.

`_` marks a text; it is translated where it is shown.
"""

from typing import Any

import wire

Text = tuple[str, dict[str, Any]]  # msgid, and what stands in it


def _(text: str) -> str:
    return text


REASONS = {
    wire.REASON_NO_PERMIT: _("the meter has no permit yet"),
    wire.REASON_EXPIRED: _("the permit had ended and no bill was paid"),
    wire.REASON_ENERGY_LIMIT: _("the energy that the permit allows was used up"),
    wire.REASON_OVERLOAD: _("more power was drawn than is allowed; it comes back after a minute"),
    wire.REASON_OVERLOAD_LOCKED: _(
        "too much power was drawn again and again; press the meter's button"
    ),
    wire.REASON_NEW_PERMIT: _("a new permit arrived"),
    wire.REASON_OVERLOAD_RETRY: _("a minute after too much power was drawn"),
    wire.REASON_BUTTON: _("somebody pressed the meter's button"),
    wire.REASON_RESTORED: _("the switch had not followed, and was driven again"),
    wire.REASON_DEFERRED_PERMIT: _("a permit that was to begin later has begun"),
}
_EVENTS = {
    wire.EVENT_BOOT: _("The meter started."),
    wire.EVENT_CLOCK_SET: _("The meter's clock was set."),
    wire.EVENT_REGISTER_WRAP: _("The sensor's counter began again at zero; nothing was lost."),
    wire.EVENT_REGISTER_RESET: _("The sensor's counter was reset; the meter's own went on."),
    wire.EVENT_REGISTER_SWAP: _("Another sensor was put in; the meter's counter went on."),
    wire.EVENT_STEP_HELD: _("The sensor jumped further than is possible; that is not counted."),
    wire.EVENT_SENSOR_SILENT: _("The sensor does not answer."),
    wire.EVENT_SENSOR_BACK: _("The sensor answers again."),
    wire.EVENT_PERMIT_ACCEPTED: _("The meter took permit %(a)s."),
    wire.EVENT_PERMIT_REFUSED: _("The meter refused a permit that it does not believe."),
    wire.EVENT_EXPIRY_WARNING: _("The permit ends in %(a)s days."),
    wire.EVENT_OVERLOAD_LOCKED: _("Too much power, %(a)s times: the supply stays off."),
    wire.EVENT_JOURNAL_OVERWRITE: _("The meter's memory was full; old readings were overwritten."),
    wire.EVENT_SIGNER_CHANGED: _("The meter trusts a new signer."),
    wire.EVENT_LEDGER_CHANGED: _("The meter trusts another ledger."),
    wire.EVENT_MAINS_OUTAGE: _("Power failure: nothing comes from the line."),
    wire.EVENT_MAINS_BACK: _("The line has power again."),
    wire.EVENT_TASK_RESTARTED: _("A part of the meter's program was started again."),
    wire.EVENT_CONFIG_CHANGED: _("The meter's settings were changed."),
    wire.EVENT_STATE_LOST: _("The meter lost a note of its own, and went on without it."),
    wire.EVENT_STEP_COUNTED: _("What the sensor counted while the meter was off was added."),
    wire.EVENT_UPDATE_ACCEPTED: _("The meter fetches new firmware."),
    wire.EVENT_CONTACTOR_BYPASSED: _("Current flows although the supply is off."),
}
SUPPLY = {
    wire.EVENT_DISCONNECTED: _("Supply off: %(why)s."),
    wire.EVENT_RECONNECTED: _("Supply on: %(why)s."),
    wire.EVENT_READY_FOR_RECONNECTION: _("Ready to be switched on, press the button: %(why)s."),
}
_TAMPER = {1: _("The meter's cover was opened."), 0: _("The meter's cover is closed again.")}
_UPDATED = {
    wire.UPDATE_RUNS: _("The meter runs new firmware."),
    wire.UPDATE_FELL_BACK: _("The meter went back to its old firmware."),
}
_BAD = {
    wire.EVENT_DISCONNECTED,
    wire.EVENT_SENSOR_SILENT,
    wire.EVENT_OVERLOAD_LOCKED,
    wire.EVENT_TAMPER,
    wire.EVENT_CONTACTOR_BYPASSED,
    wire.EVENT_MAINS_OUTAGE,
}
UNKNOWN = _("Event %(code)s.")


def event_words(event: Any) -> Text:
    """Return what an event says; `why`, where it has one, is a msgid too."""
    if event.code in SUPPLY:
        return SUPPLY[event.code], {"why": REASONS.get(event.a, str(event.a))}
    if event.code == wire.EVENT_TAMPER:
        return _TAMPER[int(bool(event.a))], {}
    if event.code == wire.EVENT_UPDATE_ENDED:
        return _UPDATED.get(
            event.a, _("An update of the meter failed; it will be tried again.")
        ), {}
    return _EVENTS.get(event.code, UNKNOWN), {"a": event.a, "code": event.code}


def is_bad(event: Any) -> bool:
    """Say whether an event is of something that somebody should look at."""
    return event.code in _BAD


def supply_words(control: str, contactor: str) -> str:
    """Return whether a house has power, as its last reading says."""
    if not contactor:
        return _("not heard of yet")
    if control == "ready":
        return _("ready: press the meter's button")
    return _("connected") if contactor == "closed" else _("disconnected")


# What `parwana meters` calls alarms, for the catalogues. Source: parwana.fleet.rows
ALARMS = (
    _("sensor silent"),
    _("mains outage"),
    _("clock untrusted"),
    _("step held back"),
    _("readings overwritten"),
    _("tamper"),
    _("overload, locked"),
    _("task restarted"),
    _("state lost"),
    _("permit refused"),
    _("contactor bypassed"),
    _("silent"),
    _("never heard"),
    _("permit ended"),
    _("permit not taken"),
    _("change of trust not taken"),
    _("contradicts itself"),
)
OTHERS = (
    _("house"), _("transformer"), _("plant"), _("none"), _("theft"), _("over-billing"),
    _("no comparison"), _("closed"), _("open"), _("ready"), _("ok"), _("waits"), _("wrong"),
    _("Losses"), _("most that is allowed"), _("least that is allowed"), _("lines and meters"),
)  # fmt: skip
