"""What commands say in English, known by its pattern and said in the reader's language.

Their texts are made where the facts are, and stay as they are for scripts and logs. What none of
these patterns knows, as what a node or a broker answered, stays English and is marked as such.
"""

import re
from functools import cache
from gettext import NullTranslations

from babel.support import Translations
from markupsafe import Markup, escape


def _(text: str) -> str:
    return text


TEXTS = (
    # audit/balance
    _("the feeder was enrolled within the period"),
    _("meters came or went within the period (enrolled: %(a)s)"),
    _("meters came or went within the period (retired: %(a)s)"),
    _("no supply reading: the feeder's own closing is missing"),
    _("closings are missing: %(a)s"),
    _("closings that hold earlier periods, too: %(a)s"),
    _("not reconciled yet"),
    _("not reconciled yet: waits until %(a)s UTC for closings"),
    # fleet/rows
    _("permit ends within %(a)s d"),
    # fleet/parts
    _("chain"), _("energy chain"), _("broker"), _("store"), _("meters"), _("permits"), _("permit"),
    _("closings"), _("relay"), _("signers"), _("signer %(a)s"), _("payments"), _("payment"),
    _("utility"), _("trust"),
    _("chain %(a)s, block %(b)s, final %(c)s"),
    _("%(a)s in service, %(b)s silent, %(c)s with an alarm"),
    _("%(a)s in service, %(b)s silent, %(c)s with an alarm; is a relay running?"),
    _("none has followed the chain yet: parwana relay"),
    _("the chain is followed to block %(a)s, final is %(b)s"),
    _("feeder %(a)s, period %(b)s: %(why)s"),
    _("balanced"),
    _("not balanced yet"),
    _("%(a)s closings missing"),
    _("%(a)s, the deployment file names another: parwana signers apply"),
    _("%(a)s signs nothing; is it running? %(b)s must sign"),
    _("%(a)s has signed nothing yet; is it running? %(b)s must sign"),
    _("becomes %(a)s: parwana signers apply"),
    _("becomes %(a)s, after the notice"),
    _("%(a)s for number %(b)s: not claimed in time, refundable"),
    _("%(a)s for number %(b)s: waits for its permit"),
    _("number %(a)s has not taken serial %(b)s"),
    _("number %(a)s has not taken serial %(b)s; it was not heard since"),
    _("%(a)s meters have not taken a change: parwana signers show, parwana ledger show"),
    _("%(a)s, %(b)s to withdraw"),
    _("offered to %(a)s, which has not accepted"),
    # losses
    _("a tap of the line, before all meters"),
    _("a load that goes around the meter"),
    _("a meter that reads low by a constant share"),
    _("a meter that is silent while its house draws"),
    _("what is missing follows the load of no house"),
    _("the voltages of %(a)s houses are those of power drawn there"),
    _("where on the line no voltage tells"),
    _("its meter gives no readings, and about as much power is missing since"),
    _("what is missing grows by %(a)s W with each W that the meter of %(b)s shows; shuffled quiet "
      "days do as well in no case of 999"),
    _("no voltages tell: the balance alone says so"),
    _("the voltages of %(a)s houses place it behind the service of %(b)s, %(why)s times likelier "
      "than on the line beside it"),
    _("more than a million"),
    _("%(a)s is not supplied by this feeder, which lacks what its meter shows: it hangs on "
      "another line"),
    _("the feeder's own meter reads %(a)s %% high: see to its current transformers and its "
      "settings"),
    _("the feeder's own meter reads %(a)s %% low: see to its current transformers and its "
      "settings"),
    _("%(a)s W more are metered in the houses than at the feeder: a house of another feeder is "
      "counted here, or a phase of the feeder's meter is missing"),
    _("the clock of %(a)s is %(b)s s behind where it was"),
    _("the clock of %(a)s is %(b)s s ahead of where it was"),
    _("the connection of %(a)s got worse by %(b)s ohm: it may burn, look at it"),
    _("no feeder %(a)s in the store; there are: %(b)s"),
    _("no meter hangs on feeder %(a)s: there is nothing to compare"),
    _("feeder %(a)s has %(b)s readings of a known time then; choose another time"),
    _("feeder %(a)s has no complete interval to learn from; change --learn-from, or see in "
      "`parwana meters` who is silent"),
    _("feeder %(a)s has no complete interval in the window; change --from, or see in "
      "`parwana meters` who is silent"),
    _("%(a)s complete intervals of %(b)s houses are too few to learn from; take a longer time"),
    _("%(a)s complete intervals in the window are too few; take a longer one"),
    # what there is no proof of
    _("no reading is two days old yet, when a daily root covers it"),
    _("the chain does not answer"),
    _("no root on the chain covers frame %(a)s of meter %(b)s (day %(c)s) yet; a relay commits a "
      "day six hours after its end, and what came later with the next day"),
    _("frame %(a)s is of before 1970: its meter had no clock, no root has it"),
    # audit: what was looked at
    _("balances"), _("bills"), _("daily roots"), _("frames"), _("frames under roots"),
    _("permits accepted"), _("readings"), _("signer signatures"),
    # audit/findings
    _("frames of a meter that was never enrolled"),
    _("a frame that protocol.md refuses"),
    _("a frame that its meter did not sign"),
    _("a column that contradicts its frame"),
    _("two frames that one meter signed with one sequence"),
    _("a sequence that is missing, and not signed as lost"),
    _("a sequence that the store held once and holds no more"),
    _("a register that went back"),
    _("a trusted time that went back, without a clock event"),
    _("energy of a house whose contactor was open"),
    _("a permit in the store that the chain did not publish"),
    _("a signer's signature in the store that does not verify"),
    _("a closing on the chain that is not the meter's first valid one in the store"),
    _("a closing in the store that nobody landed by the deadline"),
    _("a feeder's balance that does not follow from the closings"),
    _("a meter that was shown on the chain to contradict itself"),
    _("a daily root that the frames in the store do not make"),
    _("frames of a day that no root covers in time"),
    _("somebody who commits daily roots and landed no closing"),
    _("a bill that does not follow from closings and tariff"),
    _("a closed period that nobody billed by the deadline"),
    _("a payment that does not match bill, lock and permit"),
    _("a payment that was neither claimed nor refunded in its time"),
    _("a published permit whose signatures, serial or grant are wrong"),
    _("a permit that a meter accepted and nobody published"),
    _("a house that was cut an hour after its permit was published, or later"),
)  # fmt: skip


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return each text with a place in it, as what matches it; first what leaves least open."""
    found = []
    for text in sorted(TEXTS, key=len, reverse=True):
        parts = re.split(r"%\((\w+)\)s", text)
        if len(parts) > 1:
            said = [re.escape(part.replace("%%", "%")) for part in parts[::2]]
            places = [f"(?P<{name}>.+?)" for name in parts[1::2]] + [""]
            pattern = "".join(word for pair in zip(said, places, strict=True) for word in pair)
            found.append((re.compile(pattern), text))
    return found


def spoken(text: str, known: NullTranslations) -> str:
    """Return what a command said, translated as far as it is known."""
    told = known.gettext(text) if text else ""  # of "" a catalogue tells about itself
    if told != text or not isinstance(known, Translations):
        return told
    for pattern, template in _patterns():
        if match := pattern.fullmatch(text):
            values = {
                name: spoken(value, known) if name == "why" else value
                for name, value in match.groupdict().items()
            }
            return Markup(escape(known.gettext(template))) % values
    plain = not re.search("[A-Za-z]{2}", text)
    return text if plain else Markup('<span lang="en">{}</span>').format(text)
