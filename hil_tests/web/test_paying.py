"""A household pays in the browser with a wallet that really signs, and sees "connected"."""

import io
from typing import Any

import zxingcpp
from eth_utils.abi import abi_to_signature, function_abi_to_4byte_selector
from PIL import Image

import wire
from hil_tests.permits.test_command import one
from hil_tests.services import wait_until
from hil_tests.town import Town
from hil_tests.web.browser import Looker
from hil_tests.web.conftest import Serve, Window
from hil_tests.web.wallet import Wallet
from parwana.chain import contracts
from parwana.chain.currency import ERC20
from parwana.chain.keys import dev_key
from parwana.web.render import STATIC
from parwana.web.site import Public

HOUSE, NUMBER, PAYER = 1, 102, 21


def step_done(looker: Looker, step: str) -> None:
    """Wait until the page shows a step of the payment as done."""
    looker.page.wait_for_selector(f"#progress [data-step={step}].done", timeout=15_000)


def reads(town: Town, house: Any, closed: bool) -> None:
    """Let the meter measure once more, with its contactor open or closed."""
    control = wire.CONTROL_CONNECTED if closed else wire.CONTROL_DISCONNECTED
    flags = control << wire.CONTROL_SHIFT | (wire.FLAG_OUTPUT_CLOSED if closed else 0)
    energy_wh, now_s = town.energy_wh[house.address], int(town.world.clock.now())
    values = (0, 0, 0, 2300, 2280, 500, 97, 1)
    town.keep(
        house, house.sign(wire.pack_reading(flags, town.next(house), now_s, energy_wh, *values))
    )


def test_a_house_that_is_cut_pays_and_is_connected(
    lived: Town, serve: Serve, chromium: Any
) -> None:
    world, house = lived.world, lived.houses[HOUSE]
    account = world.ledgers.payment.functions.account(house.key.address)
    reads(lived, house, closed=False)
    with serve(Public.ALL) as window:
        looker = Looker(chromium, "phone")
        wallet = Wallet(looker.context, world.node.url, dev_key(PAYER))
        page = looker.go(f"{window.url}/m/{house.key.address}")
        assert page.inner_text("#supply").startswith("disconnected")
        due = world.chain.call(account).due
        assert due > 0
        wallet.refuses = True
        page.click("text=Pay with Test wallet")
        page.wait_for_selector("text=User rejected the request.")
        assert world.chain.call(account).due == due
        wallet.refuses = False
        page.click("text=Pay with Test wallet")
        step_done(looker, "sent")
        wait_until(lambda: world.chain.call(account).due == 0, "the payment")
        window.look()
        step_done(looker, "locked")
        world.node.mine(2)
        assert one(world, lived.store, 1, 2).step().claimed >= 1
        lived.follow()
        window.look()
        step_done(looker, "permit")
        assert not page.locator("#progress [data-step=connected].done").count()
        row = lived.store.newest_permit(house.address)
        assert row is not None
        lived.event(house, wire.EVENT_PERMIT_ACCEPTED, int(world.clock.now()), row.serial)
        with lived.store.transaction() as tx:
            tx.heard([{"meter": house.address, "permit_serial": row.serial}])
        reads(lived, house, closed=True)
        step_done(looker, "connected")
        assert page.inner_text("#supply").startswith("connected")
        assert page.inner_text("#due") == "0 ETH"
        assert not page.locator("#pay").is_visible()
        looker.shoot("paid")
        assert looker.faults() == []
        assert looker.said == []
        bill = window.site.book.bill(house.key.address, NUMBER)
        assert bill.payments[-1]["payer"].lower() == wallet.key.address.lower()
        assert bill.payments[-1]["amount"] == due
        looker.close()


def test_a_bill_that_this_server_lies_about_is_not_paid(
    lived: Town, serve: Serve, chromium: Any
) -> None:
    world, house = lived.world, lived.houses[2]
    with serve(Public.ALL) as window:
        looker = Looker(chromium, "phone")
        wallet = Wallet(looker.context, world.node.url, dev_key(PAYER))
        page = looker.go(f"{window.url}/m/{house.key.address}")
        due = page.get_attribute("#pay", "data-due")
        lie = page.content().replace(f'data-due="{due}"', f'data-due="{due}0"')
        page.route("**/m/*", lambda route: route.fulfill(body=lie, content_type="text/html"))
        page.reload()
        page.click("text=Pay with Test wallet")
        page.wait_for_selector("text=The bill has changed")
        assert "eth_sendTransaction" not in wallet.asked
        looker.close()


def test_a_household_signs_in_with_the_key_that_pays(
    lived: Town, serve: Serve, chromium: Any
) -> None:
    house = lived.houses[0]
    with serve(Public.OWNER) as window:
        looker = Looker(chromium, "phone")
        Wallet(looker.context, lived.world.node.url, dev_key(20))
        page = looker.go(f"{window.url}/m/{house.key.address.lower()}")
        assert page.get_by_text("This is not public").count()
        looker.shoot("not-public")
        page.click("text=Sign with Test wallet")
        page.wait_for_selector("text=Bills and payments")
        looker.close()


def test_the_codes_say_what_a_wallet_and_a_meter_read(
    lived: Town, serve: Serve, chromium: Any
) -> None:
    house, world = lived.houses[2], lived.world
    with serve(Public.ALL) as window:
        looker = Looker(chromium, "phone")
        page = looker.go(f"{window.url}/m/{house.key.address}")
        due = world.chain.call(world.ledgers.payment.functions.account(house.key.address)).due
        request = shown(looker, "With a phone's wallet")
        made = world.deployment
        assert request == (
            f"ethereum:{made.payment_ledger}@{made.chain_id}/pay?address="
            f"{house.key.address.lower()}&uint256={due}&value={due}"
        )
        page.goto(f"{window.url}/m/{lived.houses[0].key.address}")
        carried = wire.parse_text(shown(looker, "Carry the permit by hand").encode())
        assert carried == lived.store.accepted_permit(lived.houses[0].address)
        looker.close()


def shown(looker: Looker, summary: str) -> str:
    """Return what the QR code under a heading says, read as a phone does."""
    looker.page.click(f"text={summary}")
    image = looker.page.locator("details[open] img")
    looker.page.wait_for_function(
        "() => { const i = document.querySelector('details[open] img');"
        " return i && i.complete && i.naturalWidth > 0; }"
    )
    picture = image.screenshot()
    [read] = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)))
    return str(read.text)


def test_live_events_are_for_who_may_see_the_house_and_bounded(lived: Town, serve: Serve) -> None:
    path = f"/m/{lived.houses[0].key.address}/live"
    with serve(Public.AGGREGATE) as window:
        assert window.get(path).status_code == 403
    with serve(Public.ALL) as window:
        streams = [window.get(path, stream=True) for _ in range(8)]
        lines = streams[0].iter_lines()
        assert next(lines).startswith(b'data: {"due":')
        assert window.get(path, stream=True).status_code == 429
        for stream in streams:
            stream.close()
        wait_until(lambda: freed(window, path), "the others' places")


def freed(window: Window, path: str) -> bool:
    """Say whether there is a place again."""
    with window.get(path, stream=True) as answer:
        return answer.status_code == 200


def test_the_calls_of_the_page_are_those_of_the_contracts() -> None:
    ours = [entry for name in contracts.NAMES for entry in contracts.load(name).abi]
    entries: list[Any] = [*ours, *ERC20]
    known = {
        abi_to_signature(entry): function_abi_to_4byte_selector(entry).hex()
        for entry in entries
        if entry["type"] == "function"
    }
    script = (STATIC / "abi.js").read_text()
    found = dict(
        line.strip().rstrip(",").replace('"', "").split(": ")
        for line in script.split("SELECTORS = {")[1].split("}")[0].splitlines()
        if line.strip()
    )
    assert len(found) >= 4
    assert found == {name: known[name] for name in found}
