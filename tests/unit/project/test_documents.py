"""The documents name what the program has, and git takes nothing that may show a person."""

from __future__ import annotations

import re
import subprocess

import pytest

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.faces.animators.profiles import ANIMATORS
from avatar_pipeline.faces.check import Rule
from avatar_pipeline.faces.rules import RULES
from avatar_pipeline.pipeline.assets.photo_intake.checks import INTAKE_RULES
from avatar_pipeline.portrait.beside_photograph import RULES as EXPORT_RULES


@pytest.mark.parametrize(
    ("page", "rule"),
    [
        *(("readiness.md", rule) for rule in RULES.values()),
        *(("photo-intake.md", rule) for rule in INTAKE_RULES.values()),
        *(("portrait.md", rule) for rule in EXPORT_RULES.values()),
    ],
    ids=lambda value: value.name if isinstance(value, Rule) else value,
)
def test_every_limit_that_a_report_cites_is_in_the_documents(page: str, rule: Rule) -> None:
    row = f"| `{rule.name}` | {rule.threshold} | {rule.unit} | {rule.source} |"
    assert row in (PROJECT / "docs" / page).read_text().splitlines()


@pytest.mark.parametrize("name", ANIMATORS)
def test_the_table_of_animators_is_that_of_the_code(name: str) -> None:
    one = ANIMATORS[name]
    cells = (
        f"`{one.name}`",
        f"{one.title}; {one.licence}",
        one.finds,
        one.cut_words,
        one.into,
        one.wants,
        f"{one.code} ({one.commit}, {one.date})",
    )
    row = f"| {' | '.join(cells)} |"
    assert row in (PROJECT / "docs" / "animators.md").read_text().splitlines()


def test_whoever_installs_by_the_documents_gets_the_versions_that_were_tested() -> None:
    for page in (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))):
        for command in re.findall(r"pip install [^`\n]*\.\[[^`\n]*", page.read_text()):
            assert "--constraint requirements/constraints.txt" in command, page.name


@pytest.mark.child_process
def test_git_takes_no_picture_page_or_actor_that_a_command_writes() -> None:
    private = [
        "both.png",  # diff --picture, preflight --annotate and --report, benchmarks --sheet
        "IMG_0001.JPG",
        "portraits/a.webp",
        "annotated/a_annotated.jpg",
        "report.html",
        "build/diff/anna_lora_1_2.jpg",
        "report/anna.html",
        "sheets/avatar.mp4",
        "anna.safetensors",
        "jane_signed.pdf",
        "assets/avatars/jane.jpg",
        "assets/avatars/jane.json",
        "data/actors/jane/actor.yaml",
        "data/actors/jane/photos/1.heic",
        "data/actors/jane/versions/lora/0/manifest.json",
        "data/actors/prof_hahne/consent.yaml",
        "data/actors/.revocations/jane.json",
        "avatar_pipeline/face.jpg",
    ]
    taken = ["docs/images/new.png", "data/actors/demo/actor.yaml", "avatar_pipeline/report/x.html"]
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        input="\n".join([*private, *taken]),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == 128:
        pytest.skip("no git checkout")
    assert asked.stdout.splitlines() == private
