"""The pages: what they tell, what they refuse to show, and that they need nothing but
themselves.
"""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.history.images import read_picture
from avatar_pipeline.history.restore import restore
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.report.write import write_all
from tests.integration.history.test_restore import silent
from tests.support.chains import DESCRIPTION, add_actor, everything, make_chain, publish
from tests.support.report_browser import needs_chromium, widths
from tests.support.worlds import Call

HOSTILE = (
    f"{DESCRIPTION} </style><script>alert(1)</script><img src=x onerror=alert(2)> & {{{{ 7*7 }}}}"
)


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._skip = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._skip = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._skip = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._skip else data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(path: Path) -> Page:
    return Page(path.read_text())


def test_the_page_of_a_whole_chain(call: Call, world: Path, store: ActorStore) -> None:
    add_actor(store, "anna")
    old, new = make_chain(store, "anna", 1), make_chain(store, "anna", 2)
    restore(store, "anna", "photo_intake", old["photo_intake"].digest, silent)
    restore(store, "anna", "photo_intake", new["photo_intake"].digest, silent)
    code, out, _ = call("report", "anna", "--output", "pages", "--price", "3600")
    assert code == 0
    assert "pages/anna.html" in out
    page = read(world / "pages" / "anna.html")
    for asset in STAGES:
        assert new[asset].digest[:12] in page.text
        assert old[asset].digest[:12] in page.text
    for told in (
        DESCRIPTION,
        "complete, with warnings",
        "Close the mouth.",
        "variation_009",
        "no face <b>found</b>",
        "take 2 with the head turned",
        "limit 0.500",
        "0.420",
        "12 (kept)",
        "1 checks that pass",
        "synthetic person",
        "MIT",
        "excludes commercial use",
        "restored",
        "steps 11 -> 12",
    ):
        assert told in page.text, told
    # four stages hold the device, 1.5 s each, at one unit of money a second; all versions kept are
    # twice as many
    assert "6.00" in page.text
    assert "12.00" in page.text
    assert len([image for image in page.of("img") if image["src"]]) >= 14


def test_both_candidates_are_shown_beside_each_other_with_the_reason_for_the_choice(
    call: Call, world: Path, store: ActorStore
) -> None:
    add_actor(store, "anna")
    avatar = make_chain(store, "anna", 1)["validated_avatar"]
    call("report", "anna", "--output", "pages")
    page = read(world / "pages" / "anna.html")
    (shown,) = [
        image for image in page.of("img") if str(image["alt"]).startswith("comparison.jpg: ")
    ]
    sent = base64.b64decode(str(shown["src"]).removeprefix("data:image/jpeg;base64,"))
    with (
        Image.open(io.BytesIO(sent)) as image,
        read_picture(store, avatar, "comparison.jpg") as stored,
    ):
        assert image.size == stored.size == (128, 128)
        assert np.abs(np.asarray(image, float) - np.asarray(stored, float)).mean() < 3
    reason = "Kept: the photograph, because the photograph is sharper (0.9 < 1)."
    assert reason in str(shown["alt"])
    assert page.text.count(reason) == 1, "it stands below the picture, too"


def test_nothing_is_fetched_and_nothing_is_executed(
    call: Call, world: Path, store: ActorStore
) -> None:
    add_actor(store, "anna", description=json.dumps(HOSTILE))
    make_chain(store, "anna", 1)
    assert call("report", "--output", "pages")[0] == 0
    for name in ("anna.html", "index.html"):
        page = read(world / "pages" / name)
        assert HOSTILE in page.text
        assert not page.of("script")
        assert not [
            attributes
            for _, attributes in page.tags
            if any(key.startswith("on") or key == "style" for key in attributes)
        ]
        for tag, attributes in page.tags:
            for key in ("src", "href", "srcset", "data", "action", "poster"):
                value = attributes.get(key) or ""
                assert value.startswith("data:image/jpeg;base64,") or value in (
                    "",
                    "index.html",
                    "anna.html",
                ), (tag, value)
        text = (world / "pages" / name).read_text()
        assert not re.search(r"https?://|@import|url\(", text)
        (policy,) = [
            meta["content"] or ""
            for meta in page.of("meta")
            if meta.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
        assert "script-src" not in policy


def test_pages_can_be_read_without_seeing_them(call: Call, world: Path, store: ActorStore) -> None:
    add_actor(store, "anna")
    make_chain(store, "anna", 1)
    call("report", "--output", "pages")
    for name in ("anna.html", "index.html"):
        page = read(world / "pages" / name)
        assert all(image.get("alt") for image in page.of("img"))
        assert len(page.of("h1")) == len(page.of("main")) == len(page.of("title")) == 1
        assert page.of("html") == [{"lang": "en"}]
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert all(after - before <= 1 for before, after in pairwise(levels)), levels
        assert all(
            region.get("aria-label") for _, region in page.tags if region.get("role") == "region"
        )


def test_an_actor_with_nothing_and_half_a_chain(call: Call, world: Path, store: ActorStore) -> None:
    add_actor(store, "new")
    add_actor(store, "half")
    make_chain(store, "half", 1, ["photo_intake", "base_image", "face_validation"], verdict="error")
    assert call("report", "--output", "pages")[0] == 0
    new, half = read(world / "pages" / "new.html"), read(world / "pages" / "half.html")
    assert "nothing made yet" in new.text
    assert new.text.count("not made yet") == len(STAGES)
    assert "failed its checks: 2 assets" in half.text
    assert half.text.count("not made yet") == 4
    assert half.of("img")
    index = read(world / "pages" / "index.html")
    assert "2 actors. 1 failed its checks, 1 not made yet." in " ".join(index.text.split())


def test_what_is_out_of_date_says_why(call: Call, world: Path, store: ActorStore) -> None:
    folder = add_actor(store, "anna")
    made = make_chain(store, "anna", 1)
    new = publish(store, "anna", "base_image", 2)
    call("report", "anna", "--output", "pages")
    page = read(world / "pages" / "anna.html")
    then, now = made["base_image"].digest[:12], new.digest[:12]
    assert (
        f"training_variations: made from base_image {then}; the current one is {now}" in page.text
    )
    assert "out of date: 4 assets" in page.text
    (folder / "actor.yaml").write_text(
        (folder / "actor.yaml").read_text().replace("headshot", "half_body")
    )
    call("report", "anna", "--output", "pages")
    assert "lora: actor.yaml changed" in read(world / "pages" / "anna.html").text


def test_damage_is_told_and_the_rest_is_shown(call: Call, world: Path, store: ActorStore) -> None:
    folder = add_actor(store, "anna")
    made = make_chain(store, "anna", 1)
    (folder / "lora" / "manifest.json").write_text("{")
    versions = folder / "versions"
    (versions / "face_validation" / made["face_validation"].digest / "report.json").write_text("{}")
    (versions / "base_image" / made["base_image"].digest / "anna_base.png").unlink()
    (versions / "photo_intake" / ("0" * 64)).mkdir()
    (versions / "photo_intake" / ("0" * 64) / "manifest.json").write_text("{")
    bad = add_actor(store, "bad")
    make_chain(store, "bad", 1)
    (bad / "actor.yaml").write_text("description: [")
    before = everything(Path(store.root.path))
    code, _, err = call("report", "--output", "pages")
    assert code == 0, err
    page = read(world / "pages" / "anna.html")
    assert "damaged: lora" in page.text
    assert "report.json was altered" in page.text
    assert "is missing or unreadable" in page.text
    assert f"{'0' * 64}" in page.text
    assert made["liveportrait_export"].digest[:12] in page.text
    page = read(world / "pages" / "bad.html")
    assert "actor.yaml cannot be used" in page.text
    assert not page.of("img"), "who it is cannot be known, nor whether that person consents"
    assert everything(Path(store.root.path)) == before, "a report writes nothing into the store"


def test_a_real_person_needs_consent(call: Call, world: Path, store: ActorStore) -> None:
    folder = add_actor(store, "jane")
    make_chain(store, "jane", 1)
    (folder / "actor.yaml").write_text(
        (folder / "actor.yaml").read_text().replace("synthetic", "real")
    )
    code, _, err = call("report", "jane", "--output", "pages")
    assert code == 1
    assert "no consent record" in err
    assert not (world / "pages").exists()
    assert call("report", "--output", "pages")[0] == 0
    index = read(world / "pages" / "index.html")
    assert "no valid consent" in index.text
    assert not index.of("img")
    assert not (world / "pages" / "jane.html").exists()

    (folder / "consent.pdf").write_bytes(b"signed")
    consent = {
        "subject": "Jane Q. Doe",
        "scope": ["embed", "generate"],
        "granted": "2026-01-01",
        "expires": "2099-01-01",
    }
    record = consent | {"evidence": {"file": "consent.pdf", "sha256": sha256_bytes(b"signed")}}
    (folder / "consent.yaml").write_text(yaml.safe_dump(record))
    assert call("report", "--output", "pages")[0] == 0
    page = read(world / "pages" / "jane.html")
    assert "pictures of a living person" in page.text
    assert "Jane Q. Doe" not in page.text + read(world / "pages" / "index.html").text
    assert read(world / "pages" / "index.html").of("img")

    (folder / "consent.yaml").write_text(yaml.safe_dump(record | {"expires": "2026-01-02"}))
    assert call("report", "--output", "pages")[0] == 0
    assert not (world / "pages" / "jane.html").exists(), (
        "consent that ends takes the pictures along"
    )


def test_only_what_changed_is_written_anew(world: Path, store: ActorStore) -> None:
    for number in range(3):
        add_actor(store, f"actor_{number}")
        make_chain(store, f"actor_{number}", number, ["photo_intake", "base_image"])
    folder = world / "pages"
    assert write_all(store, folder)[1] == 3
    assert write_all(store, folder)[1] == 0
    publish(store, "actor_1", "base_image", 9)
    old = store.versions("actor_1", "base_image")[1]
    assert write_all(store, folder)[1] == 1
    restore(store, "actor_1", "base_image", old.digest, silent)
    assert write_all(store, folder)[1] == 1
    assert write_all(store, folder, price=1.0)[1] == 3
    (folder / "mine.html").write_text("not one of these pages")
    Path(store.root.path, "actor_2", "actor.yaml").unlink()
    write_all(store, folder, price=1.0)
    assert {path.name for path in folder.iterdir()} == {
        "actor_0.html",
        "actor_1.html",
        "index.html",
        "mine.html",
    }


def test_the_index_of_many_actors_stays_small(world: Path, store: ActorStore) -> None:
    for number in range(12):
        add_actor(store, f"actor_{number:02d}")
        make_chain(store, f"actor_{number:02d}", number, ["photo_intake", "base_image"])
    write_all(store, world / "pages")
    assert (world / "pages" / "index.html").stat().st_size < 15_000 + 12 * 6_000
    links = read(world / "pages" / "index.html").of("a")
    assert [link["href"] for link in links] == [f"actor_{number:02d}.html" for number in range(12)]
    assert all((world / "pages" / str(link["href"])).is_file() for link in links)


def test_no_actors_at_all(call: Call, world: Path) -> None:
    assert call("report", "--output", "pages")[0] == 0
    assert "There are no actors yet" in read(world / "pages" / "index.html").text


@needs_chromium
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_page_is_wider_than_the_screen(
    world: Path, store: ActorStore, tmp_path: Path, width: int
) -> None:
    long = f"{DESCRIPTION} {'averyverylongword' * 12}"
    add_actor(store, "an_actor_with_a_very_long_name_indeed_1234567890", description=long)
    name = store.names()[0]
    make_chain(store, name, 1)
    make_chain(store, name, 2)
    (store.actor_dir(name) / "lora" / "manifest.json").write_text("{")
    write_all(store, world / "pages", price=0.79)
    for page in (world / "pages" / f"{name}.html", world / "pages" / "index.html"):
        told = widths(page, width, tmp_path)
        assert told["client"] == width
        assert told["out"] == []
        assert told["scroll"] == width
        assert told["broken"] == 0
