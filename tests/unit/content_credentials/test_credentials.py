"""Content credentials of pictures: what is signed reads Valid, one flipped bit Invalid, what is
saved again has none.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import c2pa
import cv2
import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.content_credentials import keys
from avatar_pipeline.content_credentials.jumbf import manifest_store
from avatar_pipeline.content_credentials.sign import Origin, sign
from avatar_pipeline.content_credentials.verify import verify
from avatar_pipeline.content_credentials.xmp import (
    DIGITAL_SOURCE_TYPE,
    media_type,
    with_source_type,
)
from avatar_pipeline.core.errors import CredentialsError

DRAWN = Origin(
    model="avatar_pipeline/embedded",
    model_sha256="1" * 64,
    seed=42,
    lora_sha256="2" * 64,
    ingredients={"base_image": "3" * 64},
    source="trainedAlgorithmicMedia",
)
SWAPPED = Origin(
    model="landmarks",
    model_sha256="",
    seed=None,
    ingredients={"source_face": "4" * 64, "target": "5" * 64},
    source="compositeWithTrainedAlgorithmicMedia",
)
CARTOON = Origin(model="dicebear", model_sha256="", seed=7, source="algorithmicMedia")
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("RGB", "JPEG", {"quality": 95}),
    "jpeg_grey": ("L", "JPEG", {}),
    "png": ("RGB", "PNG", {}),
    "png_transparent": ("RGBA", "PNG", {}),
    "webp": ("RGB", "WEBP", {"quality": 95}),
    "webp_transparent": ("RGBA", "WEBP", {"quality": 95}),
    "webp_lossless": ("RGB", "WEBP", {"lossless": True}),
    "webp_lossless_transparent": ("RGBA", "WEBP", {"lossless": True}),
}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> object:
    """One self-signed pair for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("DAGSTER_HOME", str(folder))
        for variable in (keys.KEY_VARIABLE, keys.CHAIN_VARIABLE):
            patch.delenv(variable, raising=False)
        yield folder


def encoded(kind: str, width: int = 65, height: int = 48) -> bytes:
    """A picture of odd size, with every value of every channel somewhere."""
    mode, format, options = KINDS[kind]
    shape = (height, width, len(mode)) if len(mode) > 1 else (height, width)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_stay_and_c2pas_own_reader_accepts_it(kind: str) -> None:
    plain = encoded(kind)
    signed = sign(plain, DRAWN)
    before, after = Image.open(io.BytesIO(plain)), Image.open(io.BytesIO(signed))
    assert (after.format, after.mode, after.size) == (before.format, before.mode, before.size)
    assert after.tobytes() == before.tobytes()
    assert DIGITAL_SOURCE_TYPE.encode() + b"trainedAlgorithmicMedia" in after.info["xmp"]
    assert len(signed) - len(plain) < 6000
    with c2pa.Reader(media_type(plain), io.BytesIO(signed)) as reader:
        assert reader.get_validation_state() == "Valid"
        (created,) = json.loads(reader.json())["manifests"][reader.get_active_manifest()["label"]][
            "assertions"
        ][0]["data"]["actions"]
    assert (created["action"], created["digitalSourceType"]) == (
        "c2pa.created",
        DIGITAL_SOURCE_TYPE + "trainedAlgorithmicMedia",
    )


def test_liveportrait_reads_the_same_pixels(tmp_path: Path) -> None:
    """As LivePortrait's load_image_rgb does, and as imageio does."""
    imread = pytest.importorskip("imageio.v3").imread
    for name, data in (
        ("plain.jpg", encoded("jpeg")),
        ("signed.jpg", sign(encoded("jpeg"), DRAWN)),
    ):
        (tmp_path / name).write_bytes(data)
    plain, signed = (
        cv2.cvtColor(cv2.imread(str(tmp_path / name)), cv2.COLOR_BGR2RGB)
        for name in ("plain.jpg", "signed.jpg")
    )
    assert (plain == signed).all()
    assert (imread(tmp_path / "plain.jpg") == imread(tmp_path / "signed.jpg")).all()


def test_what_a_manifest_says() -> None:
    told = verify(sign(encoded("png"), DRAWN))
    assert (told.state, told.source, told.xmp_source, told.problems) == (
        "valid",
        *["trainedAlgorithmicMedia"] * 2,
        [],
    )
    assert told.generator.startswith("avatar_pipeline ")
    assert (told.signer, told.serial) == (
        "avatar_pipeline, self-signed, signer",
        str(keys.current().certificates[0].serial_number),
    )
    assert (
        told.lineage.items()
        >= {
            "model": "avatar_pipeline/embedded",
            "model_sha256": "1" * 64,
            "seed": 42,
            "lora_sha256": "2" * 64,
        }.items()
    )
    assert [(each.name, each.relationship, each.sha256) for each in told.ingredients] == [
        ("base_image", "inputTo", "3" * 64)
    ]
    assert told.made and not told.stamped
    swapped = verify(sign(encoded("jpeg"), SWAPPED))
    assert (swapped.state, swapped.source) == ("valid", "compositeWithTrainedAlgorithmicMedia")
    assert {(each.name, each.relationship) for each in swapped.ingredients} == {
        ("target", "parentOf"),
        ("source_face", "componentOf"),
    }
    assert "seed" not in swapped.lineage
    assert verify(sign(encoded("png"), CARTOON)).source == "algorithmicMedia"


def test_no_names_of_folders_and_no_prompt_unless_it_is_given() -> None:
    local = Origin(
        model="local:jane_doe", model_sha256="1" * 64, seed=1, source="trainedAlgorithmicMedia"
    )
    assert b"jane" not in sign(encoded("png"), local)
    asked = Origin(
        model="m",
        model_sha256="",
        seed=1,
        source="trainedAlgorithmicMedia",
        prompt="a man with a trombone",
    )
    assert verify(sign(encoded("png"), asked)).lineage["prompt"] == "a man with a trombone"


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_a_flipped_bit_is_seen(kind: str) -> None:
    """Anywhere: in the pixels, the XMP, the claim, the signature, its padding, and the frame of the
    manifest.
    """
    signed = sign(encoded(kind), DRAWN)
    store = manifest_store(signed)
    begin = signed.find(store[:400])
    places = {
        "pixels": len(encoded(kind)) // 2 if kind == "webp" else len(signed) - 1000,
        "xmp": signed.find(b"DigitalSourceType"),
        "source": signed.find(b"trainedAlgorithmicMedia"),
        "lineage": signed.find(b"lora_sha256") + 20,
        "claim": signed.find(b"claim_generator_info") + 4,
        "claim's head": signed.find(b"c2pa.claim.v2"),
        "padding": signed.find(b"\0" * 500) + 250,
        "length of the store": begin + 2,
        "length of the signature's box": signed.find(b"c2pa.signature\0\0\0") - 30,
        "end": begin + len(store) - 1,
    }
    for name, place in places.items():
        assert 0 < place < len(signed), name
        changed = bytearray(signed)
        changed[place] ^= 0x04
        assert verify(bytes(changed)).state == "invalid", name
    assert verify(signed).state == "valid"


def test_any_of_many_flipped_bits_is_seen() -> None:
    signed = sign(encoded("jpeg", 17, 16), DRAWN)
    draw = np.random.default_rng(1)
    for place in draw.integers(3, len(signed), 150):  # the first three bytes tell that it is a JPEG
        changed = bytearray(signed)
        changed[place] ^= 1 << int(draw.integers(8))
        assert verify(bytes(changed)).state == "invalid", place


def test_a_manifest_that_cannot_be_found_any_more_is_not_the_same_as_none() -> None:
    """Its segments under another marker: readers pass over them, and the picture would seem never
    to have been signed.
    """
    signed = sign(encoded("jpeg"), DRAWN)
    hidden = signed.replace(b"\xff\xeb", b"\xff\xea")
    assert Image.open(io.BytesIO(hidden)).tobytes() == Image.open(io.BytesIO(signed)).tobytes()
    told = verify(hidden)
    assert (told.state, "cannot be found any more" in told.problems[0]) == ("invalid", True)
    assert verify(encoded("jpeg")).state == "absent"


def test_what_was_changed_is_said_in_words() -> None:
    signed = sign(encoded("jpeg"), DRAWN)
    assert verify(signed[:-40] + b"\0" * 38 + signed[-2:]).problems == [
        "the pixels or the metadata were changed after the picture was signed"
    ]
    assert (
        verify(signed.replace(b"avatar_pipeline/embedded", b"avatar_pipeline/embeddee"))
        .problems[0]
        .startswith("a statement in the manifest")
    )


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_saved_again_by_pillow_it_has_none(kind: str) -> None:
    again = io.BytesIO()
    Image.open(io.BytesIO(sign(encoded(kind), DRAWN))).save(again, KINDS[kind][1])
    assert verify(again.getvalue()).state == "absent"


def test_trusted_with_the_root_and_valid_with_another(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = sign(encoded("jpeg"), DRAWN)
    assert verify(signed, [(home / "credentials" / "root.pem").read_bytes()]).state == "trusted"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    stranger = (keys.make_pair("a stranger") / "root.pem").read_bytes()
    assert verify(signed, [stranger]).state == "valid"
    assert verify(sign(encoded("jpeg"), DRAWN), [stranger]).state == "trusted"


def test_xmp_alone_is_deterministic_and_replaces_itself() -> None:
    for kind in KINDS:
        plain = encoded(kind)
        marked = with_source_type(plain, "trainedAlgorithmicMedia")
        assert (
            marked
            == with_source_type(plain, "trainedAlgorithmicMedia")
            == with_source_type(marked, "trainedAlgorithmicMedia")
        )
        assert (
            with_source_type(with_source_type(plain, "algorithmicMedia"), "trainedAlgorithmicMedia")
            == marked
        )
        assert Image.open(io.BytesIO(marked)).tobytes() == Image.open(io.BytesIO(plain)).tobytes()
        told = verify(marked)
        assert (told.state, told.xmp_source) == ("absent", "trainedAlgorithmicMedia")


def test_other_kinds_are_not_signed() -> None:
    with pytest.raises(CredentialsError, match="Only JPEG, PNG, WebP and MP4"):
        sign(b"GIF89a", DRAWN)
