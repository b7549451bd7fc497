"""consent grant and consent show: the record, its states in words, and exit codes for scripts."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from avatar_pipeline.actors.consent.record import SCOPES
from avatar_pipeline.actors.consent.standing import require_consent
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import ActorError
from avatar_pipeline.pipeline.registry import STAGES
from tests.support.chains import add_actor
from tests.support.people import NAME, Call

TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)


def grant(
    call: Call,
    paper: Path,
    *more: str,
    scope: str = "embed",
    until: tuple[str, ...] = ("--days", "30"),
) -> tuple[int, str]:
    return call(
        "consent",
        "grant",
        NAME,
        "--subject",
        "Jane Doe",
        "--scope",
        scope,
        "--evidence",
        str(paper),
        *until,
        *more,
    )


def test_grant_writes_a_record_that_holds(
    call: Call, jane: Path, paper: Path, store: ActorStore
) -> None:
    code, printed = grant(call, paper, "--scope", "train", scope="generate,embed")
    assert code == 0, printed
    assert "Jane Doe has consented to embed, train, generate; it holds until" in printed
    record = yaml.safe_load((jane / "consent.yaml").read_text())
    assert (record["granted"], record["expires"]) == (TODAY, TODAY + 29 * DAY)
    assert (jane / record["evidence"]["file"]).read_bytes() == paper.read_bytes()
    assert len(store.photos(NAME)) == 6
    with pytest.raises(ActorError, match="does not cover 'publish'"):
        require_consent(store.spec(NAME), store.actor_dir(NAME), "publish")


def test_what_cannot_be_granted_changes_nothing(
    call: Call, jane: Path, paper: Path, store: ActorStore
) -> None:
    add_actor(store, "nobody")
    before = sorted(jane.iterdir())
    empty = paper.with_name("empty.pdf")
    empty.touch()
    for arguments, reason in (
        (("nobody", "--days", "9"), "nobody is nobody"),
        ((NAME,), "--expires YYYY-MM-DD or --days N"),
        ((NAME, "--days", "9", "--expires", "2099-01-01"), "--expires YYYY-MM-DD or --days N"),
        ((NAME, "--expires", "soon"), "'soon' is no date"),
        ((NAME, "--expires", str(TODAY - DAY), "--granted", str(TODAY - 9 * DAY)), "is over"),
        ((NAME, "--expires", str(TODAY), "--granted", str(TODAY + DAY)), "lies before --granted"),
        ((NAME, "--days", "9", "--scope", "everything"), "'everything' is unknown"),
        ((NAME, "--days", "9", "--evidence", str(empty)), "has 0 bytes"),
        ((NAME, "--days", "9", "--evidence", "lost.pdf"), "there is no such file"),
        ((NAME, "--days", "9", "--subject", " "), "--subject"),
    ):
        name, *more = arguments
        code, printed = call(
            "consent",
            "grant",
            name,
            "--subject",
            "Jane",
            "--scope",
            "embed",
            "--evidence",
            str(paper),
            *more,
        )
        assert (code, reason in printed) == (1, True), printed
    assert sorted(jane.iterdir()) == before


def test_a_record_that_holds_is_replaced_only_when_asked_and_kept(
    call: Call, granted: Path, paper: Path, world: Path
) -> None:
    first = (granted / "consent.yaml").read_text()
    paper.write_bytes(b"%PDF-1.4 signed again")
    code, printed = grant(call, paper)
    assert code == 1
    assert "--replace" in printed
    assert (granted / "consent.yaml").read_text() == first
    code, printed = grant(call, paper, "--replace")
    assert code == 0, printed
    (kept,) = [
        path
        for path in granted.iterdir()
        if re.fullmatch(r"consent\.\d{8}T\d{12}Z\.yaml", path.name)
    ]
    assert kept.read_text() == first
    # two papers of one name: both stay, each under the name that its record tells
    for path in (kept, granted / "consent.yaml"):
        evidence = yaml.safe_load(path.read_text())["evidence"]
        assert (granted / evidence["file"]).is_file()
    assert len(list(granted.glob("signed paper*.pdf"))) == 2


def test_show_tells_every_state_and_exits_by_it(
    call: Call, jane: Path, paper: Path, store: ActorStore
) -> None:
    add_actor(store, "nobody")

    def state(name: str = NAME, *more: str) -> tuple[int, str, dict[str, bool]]:
        code, printed = call("consent", "show", name, "--json", *more)
        told = json.loads(printed)
        return code, told["state"], told["scopes"]

    assert state("nobody") == (0, "not_needed", dict.fromkeys(SCOPES, True))
    assert state() == (1, "missing", dict.fromkeys(SCOPES, False))
    grant(call, paper, scope="embed,train")
    held = {"embed": True, "train": True, "generate": False, "publish": False}
    assert state() == (0, "holds", held)
    assert state(NAME, "--scope", "train") == (0, "holds", held)
    assert state(NAME, "--scope", "publish") == (1, "holds", held)
    code, printed = call("consent", "show", NAME)
    assert (code, "for 29 more days" in printed) == (0, True), printed
    record = yaml.safe_load((jane / "consent.yaml").read_text())
    for change, expected in (
        ({"granted": TODAY - DAY, "expires": TODAY}, "holds"),
        ({"granted": TODAY, "expires": TODAY}, "holds"),
        ({"granted": TODAY - 2 * DAY, "expires": TODAY - DAY}, "expired"),
        ({"granted": TODAY + DAY}, "not_begun"),
        ({"revoked_at": TODAY}, "revoked"),
        ({"revoked_at": TODAY, "expires": "never"}, "revoked"),
        ({"scope": ["all"]}, "unreadable"),
        ({"evidence": {**record["evidence"], "file": "../nobody/actor.yaml"}}, "unreadable"),
        ({"evidence": {**record["evidence"], "file": "lost.pdf"}}, "evidence_missing"),
    ):
        (jane / "consent.yaml").write_text(yaml.safe_dump(record | change))
        assert state() == (
            (0, expected, held)
            if expected == "holds"
            else (1, expected, dict.fromkeys(SCOPES, False))
        )
    (jane / "consent.yaml").write_text("granted: 2026-13-01\n")
    assert state()[1] == "unreadable"
    (jane / "consent.yaml").write_text(yaml.safe_dump(record))
    (jane / record["evidence"]["file"]).write_bytes(b"altered")
    assert state()[1] == "evidence_altered"


def test_calling_a_revoked_person_synthetic_helps_nobody(
    call: Call, granted: Path, store: ActorStore
) -> None:
    record = granted / "consent.yaml"
    record.write_text(record.read_text() + "revoked_at: 2026-06-30\n")
    spec = granted / "actor.yaml"
    spec.write_text(spec.read_text().replace("likeness: real", "likeness: synthetic"))
    with pytest.raises(ActorError, match="was revoked"):
        store.photos(NAME)


def test_a_stage_runs_only_with_each_of_its_scopes(store: ActorStore, granted: Path) -> None:
    from avatar_pipeline.pipeline.context import RunContext
    from avatar_pipeline.pipeline.materialize import materialize
    from avatar_pipeline.pipeline.models import Models

    record = granted / "consent.yaml"
    needing = {
        "embed": set(STAGES),
        "train": {"lora"},
        "generate": {
            "base_image",
            "training_variations",
            "lora",
            "validated_avatar",
            "liveportrait_export",
        },
        "publish": {"liveportrait_export"},
    }
    tools = RunContext(models=Models("cpu"), log=lambda line: None)
    for missing, expected in needing.items():
        rest = ", ".join(scope for scope in SCOPES if scope != missing)
        record.write_text(re.sub(r"scope: \[.*?\]", f"scope: [{rest}]", record.read_text()))
        refused = set()
        for name, stage in STAGES.items():
            if name == "photo_intake" and missing != "embed":
                continue  # the only one that needs nothing else: it would run
            try:
                materialize(store, stage, store.spec(NAME), stage.settings(), tools)
            except Exception as error:
                if "does not cover" in str(error):
                    refused.add(name)
        assert refused == expected


def test_preflight_of_an_actors_photographs_asks_too(call: Call, jane: Path, world: Path) -> None:
    code, printed = call("preflight", str(jane / "photos"))
    assert code == 2
    assert "no consent record" in printed
