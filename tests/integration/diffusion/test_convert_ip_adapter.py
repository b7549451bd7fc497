"""scripts/convert_ip_adapter.py: published FaceID pickles become safetensors that draw the same."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from avatar_pipeline.core.home import PROJECT
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from tests.support.ip_adapters import INSIGHTFACE, faceid_weights, write_adapter
from tests.support.tiny_sessions import SIZE, tiny_session


def convert(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    script = PROJECT / "scripts" / "convert_ip_adapter.py"
    return subprocess.run(
        [sys.executable, str(script), str(source), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_converted_adapter_draws_what_it_drew(tmp_path: Path) -> None:
    session = tiny_session("sd15", tmp_path / "model")
    target = session.model / session.preset.identity_adapter
    write_adapter(target, session.model / "unet", embedding=INSIGHTFACE, lora=True)
    identity = Identity(np.full(INSIGHTFACE, 0.05, np.float32))
    before = np.asarray(
        text_to_image(session, "a man", 5, SIZE, Sampling(2, 3.0, identity=identity))
    )
    session.close()

    groups: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for key, tensor in faceid_weights(session.model / "unet", 0, INSIGHTFACE, lora=True).items():
        group, name = key.split(".", 1)
        groups[group][name] = tensor
    torch.save(groups, tmp_path / "faceid.bin")
    target.unlink()
    done = convert(tmp_path / "faceid.bin", target)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert np.array_equal(
        np.asarray(text_to_image(session, "a man", 5, SIZE, Sampling(2, 3.0, identity=identity))),
        before,
    )
    session.close()


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("harm", "w")


def test_pickled_code_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "harm.bin").write_bytes(pickle.dumps(Harm()))
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.bin")
    for name, reason in (
        ("harm.bin", "no PyTorch file of plain tensors"),
        ("other.bin", "is no IP-Adapter"),
    ):
        done = convert(tmp_path / name, tmp_path / "out.safetensors")
        assert done.returncode != 0
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.safetensors").exists()
    assert not Path("harm").exists()
