"""Actor names and actor.yaml: what is accepted, and what a user is told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
from upath import UPath

from avatar_pipeline.actors.name import ActorName
from avatar_pipeline.actors.spec import ActorSpec, load_spec
from avatar_pipeline.core.errors import ActorError

GOOD = "description: european 25 year old male with short brown hair\nlikeness: synthetic\n"


def load(tmp_path: Path, text: str | bytes) -> ActorSpec:
    path = tmp_path / "actor.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_spec(UPath(path), ActorName("someone"))


@pytest.mark.parametrize("name", ["a", "0", "demo", "0100_european_25_male", "a" * 64, "x__"])
def test_good_names(name: str) -> None:
    assert ActorName(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "_a",
        "A",
        "../x",
        "a/b",
        "a\\b",
        "a.b",
        "..",
        ".",
        "a b",
        "a\n",
        "\na",
        "a\0",
        "é",
        "a" * 65,
        "a-b",
        "%2e%2e",
        "０",
    ],
)
def test_bad_names(name: str) -> None:
    with pytest.raises(ActorError, match="is not an actor name. Use 1 to 64"):
        ActorName(name)


def test_defaults(tmp_path: Path) -> None:
    spec = load(tmp_path, GOOD)
    assert spec == ActorSpec(
        name=ActorName("someone"),
        description="european 25 year old male with short brown hair",
        likeness="synthetic",
    )
    assert (spec.framing, spec.seed, spec.photos, spec.preset, spec.settings) == (
        "full_body",
        -1,
        "none",
        "embedded",
        {},
    )
    assert isinstance(spec.name, ActorName)
    assert not spec.has_photographs


def test_everything_given(tmp_path: Path) -> None:
    text = """
    name: someone
    description: >-
      a description
      of two lines
    likeness: real
    framing: headshot
    seed: 4294967295
    photos: openpeople:P010
    preset: sdxl
    settings: {lora: {rank: 32}}
    """
    spec = load(tmp_path, text)
    assert spec.description == "a description of two lines"
    assert spec.settings == {"lora": {"rank": 32}}
    assert spec.has_photographs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("likeness: synthetic\n", "'description'"),
        ("description: an old man\n", "'likeness'"),
        (GOOD + "framing: closeup\n", "'framing'.*'closeup'"),
        (GOOD + "seed: -2\n", "'seed'.*-2.*-1 draws one"),
        (GOOD + "seed: 4294967296\n", "'seed'"),
        (GOOD + "seed: yes\n", "'seed'"),
        (GOOD + "seed: lucky\n", "'seed'"),
        (GOOD + "photos: openpeople:P011\n", "'photos'.*P001 to openpeople:P010"),
        (GOOD + "photos: ../other\n", "'photos'"),
        (GOOD + "colour: blue\n", "'colour' is unknown. Known fields: description, likeness"),
        (GOOD + "settings: {lora: 3}\n", "'settings.lora'"),
        (GOOD + "name: other\n", "'name': the actor's name is that of its folder, someone"),
        (GOOD.replace("synthetic", "fake"), "'likeness'.*'fake'"),
        ("description: 5\nlikeness: synthetic", "'description'"),
        (
            "description: person\nlikeness: synthetic",
            "'description' is a single word .'person'.*such as: 'european",
        ),
        ("description: '  '\nlikeness: synthetic", "'description' is empty.*such as: 'european"),
        ("5: 5\n" + GOOD, "'5'"),
        ("", "must hold fields"),
        ("- a\n- b", "must hold fields"),
        ("a: b: c", "cannot be read as YAML"),
        ("a: !!python/object:os.system x", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
    ],
)
def test_faults_name_file_and_field(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ActorError, match=rf"(?s)actor\.yaml.*{message}"):
        load(tmp_path, text)


def test_all_faults_at_once(tmp_path: Path) -> None:
    with pytest.raises(ActorError) as caught:
        load(tmp_path, GOOD + "seed: x\nframing: y\n")
    assert len(str(caught.value).splitlines()) == 2


def test_a_single_word_will_do_beside_photographs(tmp_path: Path) -> None:
    assert (
        load(tmp_path, "description: Jane\nlikeness: synthetic\nphotos: folder").description
        == "Jane"
    )


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ActorError, match="new-actor someone"):
        load_spec(UPath(tmp_path / "actor.yaml"), ActorName("someone"))
