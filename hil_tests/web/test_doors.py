"""Who comes in, over HTTP: by password, by label, by the key that pays; and who does not."""

import re
from pathlib import Path

import requests
import zxingcpp
from eth_account import Account
from eth_account.messages import encode_defunct
from PIL import Image

from hil_tests.rights.conftest import Run
from hil_tests.town import Town
from hil_tests.web.conftest import Serve, Window
from parwana.chain.keys import Key, dev_key
from parwana.web.site import Public

PASSWORD = "correct horse"
PAYER = 20  # the development key that pays for house 101


def post(window: Window, path: str, **values: str) -> requests.Response:
    """Send a form as a page of the server's own does."""
    return window.session.post(
        window.url + path,
        data=values,
        headers={"Origin": window.url},
        allow_redirects=False,
        timeout=20,
    )


def csrf(window: Window, path: str = "/") -> str:
    """Return the word that a page puts in its forms."""
    found = re.search(r'name="csrf" value="([^"]+)"', window.get(path).text)
    assert found
    return found[1]


def test_the_utilitys_people_come_in_by_invitation_and_password(lived: Town, serve: Serve) -> None:
    house = f"/m/{lived.houses[0].key.address}"
    with serve(Public.AGGREGATE) as window:
        invited = "/invite/" + window.site.people.invite()
        assert window.get(invited).status_code == 200
        assert post(window, invited, name="asha", password="short").status_code == 400
        assert window.get("/meters").status_code == 403
        done = post(window, invited, name="asha", password=PASSWORD)
        assert done.status_code == 303
        cookie = done.headers["Set-Cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert window.get(invited).status_code == 404
        assert window.get("/meters").status_code == 200
        assert window.get(house).status_code == 200
        assert post(window, "/logout", csrf="wrong").status_code == 403
        assert window.get("/meters").status_code == 200
        assert post(window, "/logout", csrf=csrf(window)).status_code == 303
        assert window.get("/meters").status_code == 403
        assert post(window, "/login", name="asha", password="wrong").status_code == 403
        assert post(window, "/login", name="asha", password=PASSWORD).status_code == 303
        assert window.get("/meters").status_code == 200


def test_another_sites_form_is_refused(serve: Serve) -> None:
    with serve(Public.AGGREGATE) as window:
        for headers in (
            {},
            {"Origin": "https://evil.example"},
            {"Origin": window.url, "Sec-Fetch-Site": "cross-site"},
            {"Origin": "null"},
        ):
            answer = window.session.post(
                window.url + "/login", data={"name": "a"}, headers=headers, timeout=9
            )
            assert answer.status_code == 403, headers
        big = window.session.post(
            window.url + "/login", data="x" * 10_000, headers={"Origin": window.url}, timeout=9
        )
        assert big.status_code == 413


def test_guessing_is_slowed_down(serve: Serve) -> None:
    with serve(Public.AGGREGATE) as window:
        codes = [post(window, "/login", name="a", password="b").status_code for _ in range(10)]
    assert codes == [403] * 8 + [429] * 2


def test_a_label_opens_its_own_house_until_it_is_revoked(lived: Town, serve: Serve) -> None:
    mine, other = (f"/m/{h.key.address.lower()}" for h in lived.houses[:2])
    with serve(Public.OWNER) as window:
        assert window.get(mine).status_code == 403
        link = "/o/" + window.site.people.link(101)
        opened = window.get(link)
        assert (opened.status_code, opened.headers["Location"]) == (303, mine)
        assert window.get(mine).status_code == 200
        assert window.get(other).status_code == 403
        assert window.get("/meters").status_code == 403
        assert post(window, other + "/unlink", csrf=csrf(window, mine)).status_code == 403
        assert post(window, mine + "/unlink", csrf=csrf(window, mine)).status_code == 303
        assert window.get(mine).status_code == 403
        assert window.get(link).status_code == 404
    with serve(Public.AGGREGATE) as window:
        assert window.get("/o/" + window.site.people.link(101)).status_code == 404


def signed(window: Window, path: str, key: Key) -> requests.Response:
    """Answer a challenge with a key."""
    asked = post(window, path + "/challenge").json()
    text = encode_defunct(text=asked["text"])
    signature = Account.sign_message(text, key.secret).signature.hex()
    return post(window, path + "/enter", nonce=asked["nonce"], signature="0x" + signature)


def test_the_key_that_pays_opens_its_own_house(lived: Town, serve: Serve) -> None:
    mine, other = (f"/m/{h.key.address.lower()}" for h in lived.houses[:2])
    with serve(Public.OWNER) as window:
        assert signed(window, mine, dev_key(PAYER + 1)).status_code == 403
        assert signed(window, other, dev_key(PAYER)).status_code == 403
        assert window.get(mine).status_code == 403
        assert signed(window, mine, dev_key(PAYER)).status_code == 200
        assert window.get(mine).status_code == 200
        assert window.get(other).status_code == 403


def test_a_challenge_says_what_is_signed_and_is_good_once(lived: Town, serve: Serve) -> None:
    mine = f"/m/{lived.houses[0].key.address.lower()}"
    with serve(Public.OWNER) as window:
        asked = post(window, mine + "/challenge").json()
        for words in (mine[3:], asked["nonce"], "costs nothing", "UTC"):
            assert words in asked["text"]
        text = encode_defunct(text=asked["text"])
        signature = "0x" + Account.sign_message(text, dev_key(PAYER).secret).signature.hex()
        for given in ("0x", "0x" + "11" * 65, "nonsense"):
            answer = post(window, mine + "/enter", nonce=asked["nonce"], signature=given)
            assert answer.status_code == 403
        late = post(window, mine + "/enter", nonce=asked["nonce"], signature=signature)
        assert late.status_code == 403  # it was answered, wrongly


def test_a_stranger_does_not_learn_which_meters_there_are(lived: Town, serve: Serve) -> None:
    there, none = f"/m/{lived.houses[0].key.address.lower()}", "/m/0x" + "34" * 20
    with serve(Public.OWNER) as window:
        pages = [window.get(path).text.replace(path, "") for path in (there, none)]
        assert pages[0] == pages[1]
        texts = [post(window, path + "/challenge").json()["text"] for path in (there, none)]
        assert len(texts[0]) == len(texts[1])


def test_links_and_invitations_by_the_command(
    folder: Path, serve: Serve, run: Run, tmp_path: Path
) -> None:
    base = ("serve", "--url", "https://meter.example", "--state", folder / "web")
    invitation = run(*base, "--invite").out.split()[0]
    done = run(*base, "--link", "101", "--labels", tmp_path)
    link = done.out.split()[0]
    for said in (invitation, link):
        assert said.startswith("https://meter.example/")
    [read] = zxingcpp.read_barcodes(Image.open(tmp_path / "test-101.png"))
    assert read.text == link
    with serve(Public.OWNER) as window:
        assert window.get(invitation.removeprefix("https://meter.example")).status_code == 200
        assert window.get(link.removeprefix("https://meter.example")).status_code == 303
    run(*base, "--unlink", "101")
    with serve(Public.OWNER) as window:
        assert window.get(link.removeprefix("https://meter.example")).status_code == 404
    wrong = run(*base, "--link", "7")
    assert (wrong.code, "no house 7 is in service" in wrong.err) == (1, True)


def test_over_tls_the_cookie_is_secure(serve: Serve) -> None:
    with serve(Public.OWNER) as window:
        object.__setattr__(window.site, "url", "https://meter.example")
        done = window.get("/o/" + window.site.people.link(101))
    assert "secure" in done.headers["Set-Cookie"].lower()
