"""The web page in a real browser: it draws."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.core.openpeople import asset_path
from avatar_pipeline.service.http.tokens import new_token
from tests.support.browser import Page, browser, chromium
from tests.support.guarded import application
from tests.support.servers import Server
from tests.support.site import PNG


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    if chromium() is None:
        pytest.skip("no chromium is installed; tests/unit checks what the page refers to")
    with browser(tmp_path / "profile") as opened:
        yield opened


def visible(name: str) -> str:
    return f"!document.getElementById('{name}').hidden"


def text(page: Page, selector: str) -> str:
    return str(page.js(f"document.querySelector({selector!r}).innerText"))


# Every text and every attribute below an element that shows a value which was not there.
UNSAID = """(place => [place, ...place.querySelectorAll('*')]
  .flatMap(element => [...element.attributes].map(one => one.value).concat(element.children.length ? [] : [element.textContent]))
  .filter(said => /\\b(undefined|null|NaN)\\b|\\[object|Invalid Date/.test(said)))(PLACE)"""  # noqa: E501

# What each task may leave out of its answer, shown by the page's own code.
SPARSE = """(async () => {
  const {showResult} = await import('/static/result.js');
  const src = document.querySelector('#result .large img').getAttribute('src');
  const shown = task => {
    const place = document.createElement('div');
    const params = task === 'base-image' ? {description: 'a man'} : {};
    showResult(place, {id: '1', task, params, made: {pictures: [{image_url: src}]}}, null);
    return place;
  };
  const places = ['generate', 'faceswap', 'face-avatar', 'face-migration', 'base-image', 'a new one'].map(shown);
  return [places.map(place => place.querySelector('.large img').alt), places.flatMap(place => UNSAID)];
})()""".replace("UNSAID", UNSAID.replace("PLACE", "place"))  # noqa: E501


def unsaid(page: Page) -> list[str]:
    return list(page.js(UNSAID.replace("PLACE", "document.documentElement")))


def test_a_prompt_becomes_a_picture_that_survives_a_reload(page: Page, server: Server) -> None:
    page.size(390, 844, phone=True)
    page.open(server.url + "/")
    page.until(
        "document.querySelectorAll('#actor option').length > 1 && "
        "document.querySelectorAll('#views input').length"
    )
    page.type("#prompt", "a 35 year old woman with curly hair, smiling")
    page.type("#seed", "7")
    page.js("document.getElementById('size').value = '512x512'")
    page.click("#portrait .submit button")
    page.until(visible("result"), 180)
    page.until("document.querySelector('#result .large img').naturalWidth === 512")
    facts = text(page, "#result .facts")
    assert (
        "7" in facts.split()
        and "512\u00a0×\u00a0512" in facts
        and "embedded" in facts
        and "base model" in facts
    )
    assert text(page, "#result .verdict") in (
        "Ready for LivePortrait",
        "Usable, with remarks",
        "Not fit for LivePortrait",
    )
    assert text(page, "#spoken").startswith("Done.")
    words = "a 35 year old woman with curly hair, smiling"
    assert page.js("document.querySelector('#result .large img').alt") == f"Picture 1: {words}"
    alts, missing = page.js(SPARSE)
    kinds = ["Portrait", "Face swap", "Face avatar", "Portrait with a face", None, "a new one"]
    assert alts == [f"Picture 1, {kind}" if kind else "Picture 1: a man" for kind in kinds]
    assert missing == unsaid(page) == []
    # the picture that the download gives is the one that the same request gives elsewhere
    link = page.js("document.querySelector('#result a[download]').getAttribute('href')")
    answer = server.post(
        "/generate",
        {
            "prompt": "a 35 year old woman with curly hair, smiling",
            "seed": 7,
            "width": 512,
            "height": 512,
        },
    )
    shown, drawn = (
        server.get(address)
        for address in (link, answer.json()["image_url"].removeprefix(server.url))
    )
    # each with a signature of its own
    assert (
        Image.open(io.BytesIO(shown.content)).tobytes()
        == Image.open(io.BytesIO(drawn.content)).tobytes()
    )
    assert page.js("document.documentElement.scrollWidth") == 390

    page.open(server.url + "/")
    page.until("document.querySelectorAll('#history img').length >= 1")
    page.click("#history li:nth-child(2) button")  # before the one that was asked for elsewhere
    page.until(visible("result"))
    assert "a 35 year old woman" in text(page, "#result .said")
    assert unsaid(page) == []
    assert page.complaints == []


def test_a_photograph_becomes_a_portrait_with_its_checks_drawn_onto_it(
    page: Page, server: Server
) -> None:
    page.size(390, 844, phone=True)
    page.open(server.url + "/#photograph")
    page.until("document.querySelectorAll('#animators input').length > 10")
    assert page.js(visible("photograph")) and not page.js(visible("portrait"))
    page.choose_file("#photo", asset_path("P001", "studio_portrait"))
    page.until(visible("photo-preview"))
    page.js("document.querySelector('#animators input[value=ditto]').click()")
    page.js("document.getElementById('photo-consent').click()")
    page.click("#photograph .submit button")
    page.until(visible("result"), 120)
    page.until("document.querySelector('#result .large img').naturalWidth === 1024")
    assert page.js("document.querySelectorAll('#result .strip button').length") == 2
    assert text(page, "#result .strip button:first-child").startswith("liveportrait")
    assert text(page, "#result .verdict") == "Ready for LivePortrait"
    page.until("document.querySelector('#result .told figure img').naturalWidth > 1024")
    facts = text(page, "#result .facts")
    assert "of 100" in facts and "% of it lay outside of the photograph" in facts
    assert page.js("document.documentElement.scrollWidth") == 390
    assert unsaid(page) == []
    assert page.complaints == []


PIXELS = """(() => {
  const image = document.querySelector('#result figure img');
  const canvas = Object.assign(document.createElement('canvas'), {width: image.naturalWidth, height: image.naturalHeight});
  canvas.getContext('2d').drawImage(image, 0, 0);
  return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
})()"""  # noqa: E501


def test_a_cartoon_is_drawn_and_its_seed_kept(page: Page, server: Server, tmp_path: Path) -> None:
    page.size(390, 844, phone=True)
    page.open(server.url + "/#cartoon")
    page.until("document.querySelectorAll('#actor option').length > 1")
    assert page.js(visible("cartoon")) and not page.js(visible("portrait"))
    page.click("#cartoon .submit button")
    page.until(
        visible("result") + " && document.querySelector('#result figure img').naturalWidth === 96"
    )
    seed = text(page, "#result .facts dd")
    assert (
        seed.isdigit()
        and "white" in text(page, "#result .facts")
        and "cartoon_gan_small" in text(page, "#result .facts")
    )
    # it is the picture of that seed
    drawn = page.js(PIXELS)
    answer = server.get("/generate-image", params={"seed": seed})
    assert bytes(drawn) == Image.open(io.BytesIO(answer.content)).convert("RGBA").tobytes()
    page.click("#keep-seed")
    assert page.js("document.getElementById('cartoon-seed').value") == seed
    page.js("document.getElementById('cartoon-size').value = 'large'")
    page.click("#cartoon-transparent")
    page.click("#cartoon-compare")
    page.click("#cartoon .submit button")
    page.until("document.querySelectorAll('#result figure img.checker').length === 2")
    page.until(
        "[...document.querySelectorAll('#result figure img')].every(image => "
        "image.naturalWidth === 128)"
    )
    assert text(page, "#result .facts dd") == seed and "baseline" in text(page, "#result .cartoons")
    assert unsaid(page) == []
    page.click("#result .strip button:last-child")  # back to the first
    page.until("document.querySelectorAll('#result figure').length === 1")
    page.js("document.getElementById('cartoon-seed').value = '9999999999'")
    page.click("#cartoon .submit button")
    page.until(visible("error"))
    assert "seed: must be below" in text(page, "#error")
    assert page.js("document.documentElement.scrollWidth") == 390
    assert [said for said in page.complaints if "422" not in said] == []


def test_a_refusal_is_said_in_the_services_words(page: Page, server: Server) -> None:
    page.open(server.url + "/")
    page.until("document.querySelectorAll('#style option').length")
    page.type("#prompt", "a man")
    page.js("document.getElementById('size').append(new Option('huge', '9999x512', true, true))")
    page.click("#portrait .submit button")
    page.until(visible("error"))
    assert "width" in text(page, "#error") and "2048" in text(page, "#error")
    assert page.js("document.querySelector('#portrait .submit button').disabled") is False


def test_tabs_by_keyboard_and_cancelling(page: Page, server: Server) -> None:
    page.open(server.url + "/")
    page.until("document.querySelectorAll('#expressions input').length")
    page.js("document.getElementById('tab-portrait').focus()")
    page.press("ArrowRight", 39)
    assert page.js("document.activeElement.id") == "tab-photograph"
    assert page.js(visible("photograph")) and not page.js(visible("portrait"))
    page.press("ArrowLeft", 37)
    page.type("#prompt", "a 30 year old man")
    page.js(
        "document.getElementById('count').value = '8'; document.querySelectorAll('#views "
        "input').forEach(box => box.click())"
    )
    page.js("document.getElementById('prompt').focus()")
    page.click("#portrait .submit button")
    page.until(visible("progress") + " && " + visible("cancel"))
    page.click("#cancel")
    page.until(visible("error") + " || " + visible("result"), 120)
    said = text(page, "#error")
    assert "Cancelled" in said and said.strip().endswith("Nothing was kept.")
    assert page.complaints == []


def test_a_face_needs_its_tick_where_the_service_asks_for_one(page: Page, tmp_path: Path) -> None:
    (tmp_path / "face.png").write_bytes(PNG)
    (tmp_path / "other.png").write_bytes(PNG)
    valid = "document.getElementById('{}').checkValidity()".format
    with application(tmp_path / "service", upload_consent="declared") as (url, jobs):
        page.open(url + "/")
        page.until(
            "document.querySelectorAll('#style option').length && "
            "document.querySelector('.consent-help').textContent"
        )
        page.type("#prompt", "a man")
        assert page.js(valid("portrait"))  # no face, nothing to agree to
        page.choose_file("#face", tmp_path / "face.png")
        page.until("document.getElementById('face-consent').required")
        page.click("#portrait .submit button")
        page.until("document.getElementById('more-face').open")  # where what is missing can be seen
        assert list(jobs.iterdir()) == []
        page.click("label[for=face-consent]")
        page.click("#portrait .submit button")
        page.until(visible("progress") + " && " + visible("cancel"))
        (job,) = jobs.iterdir()
        assert json.loads((job / "job.json").read_text())["consent"]["by"] == "field"
        page.choose_file("#face", tmp_path / "other.png")  # another person has not been asked yet
        page.until("!document.getElementById('face-consent').checked")
        page.choose_file("#source-face", tmp_path / "face.png")
        assert not page.js(valid("face-swap"))
        page.js("document.getElementById('swap-consent').checked = true")
        assert page.js(valid("face-swap"))
        page.click("#cancel")  # or the server waits for who listens to the job
        page.until(visible("error"))
    assert page.complaints == []


def test_a_token_is_asked_for_once_and_kept_in_the_tab(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATAR_DATA", str(PROJECT / "data" / "actors"))
    token = new_token(tmp_path / "service", "page")  # from its first one on the service wants one
    with application(tmp_path / "service") as (url, _):
        page.open(url + "/")
        page.until(visible("token-form"))
        page.type("#token", "wrong")
        page.press("Enter", 13)
        page.until("document.getElementById('token-text').innerText.includes('not known')")
        page.type("#token", token)
        page.click("#token-form button")
        page.until("document.querySelectorAll('#actor option').length > 1")
        assert not page.js(visible("token-form"))
        page.open(url + "/")
        page.until("document.querySelectorAll('#actor option').length > 1")
        assert page.js("document.cookie + JSON.stringify(localStorage)") == "{}"
