"""`avatar-pipeline verify`, `credentials new` and `credentials show`: what they print, their exit
codes, and files that are hostile.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import c2pa
import numpy as np
import pytest
from PIL import Image

from avatar_pipeline.cli.main import main
from avatar_pipeline.content_credentials import keys, verify, watermark
from avatar_pipeline.content_credentials.jumbf import manifest_store
from avatar_pipeline.content_credentials.sign import LINEAGE, Origin, sign
from avatar_pipeline.content_credentials.xmp import DIGITAL_SOURCE_TYPE
from avatar_pipeline.core.errors import CredentialsError
from tests.unit.content_credentials.test_credentials import DRAWN, encoded

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable, name in {"AVATAR_DATA": "actors", "DAGSTER_HOME": "home"}.items():
        monkeypatch.setenv(variable, str(tmp_path / name))
    for variable in (keys.KEY_VARIABLE, keys.CHAIN_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def call(world: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command line: exit code, what it printed, its errors."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_new_and_show_tell_what_is_used(call: Call, world: Path) -> None:
    assert call("credentials", "show")[1].startswith("There are none yet")
    code, out, _ = call("credentials", "new", "--name", "Hochschule Furtwangen")
    assert (code, str(world / "home" / "credentials" / "key.pem") in out) == (0, True)
    code, _, err = call("credentials", "new")
    assert (code, "is there already" in err) == (1, True)
    for name in ("two\nlines", "\udcff", " ", "x" * 65):
        code, _, err = call("credentials", "new", "--name", name)
        assert (code, "at most 64 characters" in err) == (1, True), name
    code, out, _ = call("credentials", "show")
    assert code == 0
    for words in (
        "Hochschule Furtwangen",
        "of this home folder",
        "--trust",
        "read Invalid after that",
    ):
        assert words in out
    signed = world / "signed.png"
    signed.write_bytes(sign(encoded("png"), DRAWN))
    assert (
        json.loads(call("verify", signed, "--json")[1])["signer"] == "Hochschule Furtwangen, signer"
    )


def test_states_and_exit_codes(call: Call, world: Path) -> None:
    signed, changed, plain = (world / name for name in ("signed.jpg", "changed.jpg", "plain.jpg"))
    data = sign(encoded("jpeg"), DRAWN)
    signed.write_bytes(data)
    changed.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    plain.write_bytes(encoded("jpeg"))
    root = world / "home" / "credentials" / "root.pem"
    strange = world / "strange.pem"
    code, out, _ = call("verify", signed)
    assert (
        code,
        ": Valid: " in out,
        "this machine's own certificate" in out,
        "seed          42" in out,
    ) == (0, True, True, True)
    assert "base_image (inputTo): " + "3" * 64 in out
    code, out, _ = call("verify", signed, "--trust", root)
    assert (code, ": Trusted: " in out) == (0, True)
    code, out, _ = call("verify", changed, "--trust", root)
    assert (code, ": Invalid: " in out) == (1, True)
    assert "wrong         the pixels or the metadata were changed" in out
    code, out, _ = call("verify", plain)
    assert (code, ": absent: no credentials" in out) == (2, True)
    (world / "home" / "credentials").rename(world / "kept")
    strange.write_bytes((keys.make_pair("somebody else") / "root.pem").read_bytes())
    code, out, _ = call("verify", signed, "--trust", strange)
    assert (code, ": Valid: " in out, "own certificate" in out) == (3, True, False)
    assert (
        json.loads(
            call(
                "verify",
                signed,
                "--trust",
                strange,
                "--trust",
                world / "kept" / "root.pem",
                "--json",
            )[1]
        )["state"]
        == "trusted"
    )


def test_what_cannot_be_examined(call: Call, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content, words in (
        ("empty.jpg", b"", "is empty"),
        ("text.jpg", b"hello", "neither JPEG, PNG, WebP nor MP4"),
        ("missing.jpg", None, "is no file"),
    ):
        if content is not None:
            (world / name).write_bytes(content)
        code, out, err = call("verify", world / name)
        assert (code, out, words in err) == (4, "", True)
    (world / "plain.jpg").write_bytes(encoded("jpeg"))
    assert call("verify", world / "plain.jpg", "--trust", world / "text.jpg")[0] == 4
    assert call("verify", world)[0] == 4
    monkeypatch.setattr(verify, "MAX_BYTES", 100)
    code, _, err = call("verify", world / "plain.jpg")
    assert (code, "too long" in err) == (4, True)


def test_hostile_files_get_a_verdict_and_no_traceback(call: Call, world: Path) -> None:
    draw = np.random.default_rng(5)
    path = world / "hostile"
    for kind in ("jpeg", "png", "webp"):
        signed = sign(encoded(kind), DRAWN)
        cut = [signed[: int(len(signed) * share)] for share in (0.01, 0.2, 0.5, 0.9, 0.999)]
        noise = [signed[:12] + draw.bytes(500), signed[:600] + draw.bytes(2000)]
        for data in [*cut, *noise, b"\0\0\0\x18ftypisom" + draw.bytes(300), signed * 2]:
            path.write_bytes(data)
            code, out, _ = call("verify", path, "--json")
            assert code in (1, 2, 4), (kind, len(data), out)
            assert json.loads(out)["problems"] if code == 1 else True
    nested = b""
    for _ in range(3000):
        nested = struct.pack(">I", len(nested) + 8) + b"jumb" + nested
    signed = sign(encoded("png"), DRAWN)
    store = manifest_store(signed)
    at = signed.find(b"caBX")
    path.write_bytes(
        signed[: at - 4] + chunk(b"caBX", store + nested) + signed[at + 8 + len(store) :]
    )
    code, out, _ = call("verify", path)
    assert (code, "boxes of the manifest were changed" in out) == (1, True)
    tricks = Origin(
        model="\x1b[31m\x1b]0;owned\x07" + "x" * 9000,
        model_sha256="",
        seed=1,
        source="algorithmicMedia",
    )
    path.write_bytes(sign(encoded("png"), tricks))
    code, out, _ = call("verify", path)
    assert (code, "\x1b" in out, "\x07" in out) == (0, False, False)


def test_a_lineage_of_somebody_elses_may_hold_anything(call: Call, world: Path) -> None:
    lineage = {
        "label": LINEAGE,
        "data": {"copy_of": {"a": 1}, "model_sha256": [["x"]], "lora_sha256": 5},
    }
    action = {
        "action": "c2pa.created",
        "digitalSourceType": DIGITAL_SOURCE_TYPE + "algorithmicMedia",
    }
    created = {"label": "c2pa.actions.v2", "data": {"actions": [action]}}
    definition = {"claim_generator_info": [{"name": "stranger"}], "assertions": [created, lineage]}
    pair, signed = keys.current(), io.BytesIO()
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", pair.chain, pair.key, None))
    with c2pa.Builder(json.dumps(definition)) as builder:
        builder.sign(signer, "image/png", io.BytesIO(encoded("png")), signed)
    (world / "strange.png").write_bytes(signed.getvalue())
    code, out, _ = call("verify", world / "strange.png")
    assert (code, "{'a': 1}" in out) == (0, True)


def test_a_manifest_that_lies_in_the_network_is_told_and_not_fetched(
    call: Call, world: Path
) -> None:
    address = "https://example.com/manifest.c2pa"
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" '
        f'dcterms:provenance="{address}"/></rdf:RDF></x:xmpmeta>'
    )
    remote = io.BytesIO()
    Image.new("RGB", (40, 40)).save(remote, "JPEG", xmp=packet.encode())
    (world / "remote.jpg").write_bytes(remote.getvalue())
    code, out, _ = call("verify", world / "remote.jpg")
    assert (code, "lie in the network" in out, address in out, "damaged" in out) == (
        2,
        True,
        True,
        False,
    )


def test_half_a_configuration_of_keys_does_not_change_the_verdict(
    call: Call, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "signed.png").write_bytes(sign(encoded("png"), DRAWN))
    monkeypatch.setenv(keys.KEY_VARIABLE, str(world / "key.pem"))
    code, out, _ = call("verify", world / "signed.png")
    assert (code, ": Valid: " in out, "own certificate" in out) == (0, True, False)


def test_an_expired_certificate_is_told_and_signs_nothing(
    call: Call, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avatar_pipeline.content_credentials.sign import _context
    from tests.unit.content_credentials.test_keys import own

    own(world, monkeypatch, days=(-9, -1))
    with pytest.raises(CredentialsError, match="expired on"):
        sign(encoded("jpeg"), DRAWN)
    assert call("credentials", "show")[0] == 1
    _context.cache_clear()


def test_a_watermark_survives_saving_and_scaling() -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).resize(
        (640, 512), Image.Resampling.BICUBIC
    )
    picture = Image.fromarray(
        (np.asarray(smooth) * 0.8 + rng.integers(0, 40, (512, 640, 3))).astype(np.uint8)
    )
    marked = watermark.embed(picture)
    assert np.abs(np.asarray(marked).astype(int) - np.asarray(picture)).mean() < 3
    assert watermark.strength(picture) < watermark.DETECTION_SIGMAS
    saved = io.BytesIO()
    marked.resize((480, 384), Image.Resampling.LANCZOS).save(saved, "JPEG", quality=80)
    told = verify.verify(saved.getvalue())
    assert told.state == "absent"
    assert told.watermark is not None and told.watermark >= watermark.DETECTION_SIGMAS
    clear = watermark.embed(
        Image.merge("RGBA", (*picture.split(), Image.new("L", picture.size, 90)))
    )
    assert clear.getchannel("A").getextrema() == (90, 90)
    small = picture.resize((200, 300))
    assert watermark.embed(small) is small
