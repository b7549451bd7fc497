"""The generator as the service runs it: the same numbers as PyTorch's, real transparency, and words
for weights that are not usable.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avatar_pipeline.cartoons.attributes import LATENTS, PIXELS, SIZES, Size, chosen, draw_latents
from avatar_pipeline.cartoons.generator import forward, on_white, picture, read_weights
from avatar_pipeline.cartoons.networks import Generator
from avatar_pipeline.core.errors import ModelError


def tensors(size: Size) -> dict[str, torch.Tensor]:
    """Of a generator that was not trained but has seen pictures, as batch norm counts: in half
    precision, as training.py writes them.
    """
    torch.manual_seed(3)
    generator = Generator(size)
    for values in generator.state_dict().values():
        if values.ndim == 1 and values.is_floating_point():
            values.uniform_(0.2, 1.5)
    return {
        name: values.half()
        for name, values in generator.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("size", SIZES)
def test_it_computes_what_pytorch_computes(size: Size, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(tensors(size), path)
    generator = Generator(size).eval()
    generator.load_state_dict(tensors(size), strict=False)
    hot = chosen(draw_latents(size, 1, 1), size)
    with torch.inference_mode():
        expected = generator.float()(torch.from_numpy(hot))[0].numpy()
    found = forward(read_weights(path, size), hot[0])
    assert found.shape == (4, PIXELS[size], PIXELS[size])
    assert expected.std() > 0.05  # it is not all one grey
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_colours_come_back_from_premultiplied_ones() -> None:
    straight = np.array([[200, 100, 0, 128], [10, 20, 30, 255], [0, 0, 0, 0]], np.float32)
    premultiplied = straight * np.append(straight[:, 3:].repeat(3, 1) / 255, np.ones((3, 1)), 1)
    found = np.asarray(picture((premultiplied.T[:, None] / 127.5 - 1).astype(np.float32)))
    assert found.shape == (1, 3, 4)
    np.testing.assert_allclose(found[0], straight, atol=1)


def test_what_is_nearly_invisible_is_invisible_and_no_edge_shines() -> None:
    # nearly nothing with a colour, nearly everything, and more colour than alpha: what a network
    # draws, and nothing drawn can be
    values = (
        np.array([[40, 250, 255], [0, 0, 90], [0, 0, 0], [6, 248, 100]], np.float32)[:, None]
        / 127.5
        - 1
    )
    found = np.asarray(picture(values))[0].tolist()
    assert found == [[0, 0, 0, 0], [250, 0, 0, 255], [255, 230, 0, 100]]
    assert np.asarray(on_white(picture(values)))[0, 0].tolist() == [255, 255, 255]


def test_the_same_picture_on_white() -> None:
    # 127.5 of 255: yellow, half of it
    half = np.array([[[0.0]], [[0.0]], [[-1.0]], [[0.0]]], np.float32)
    assert (
        np.abs(np.asarray(on_white(picture(half)))[0, 0].astype(int) - [255, 255, 127]).max() <= 1
    )


def test_unusable_weights_are_said_by_name(tmp_path: Path) -> None:
    good = tensors("small")
    cases = {
        "lacks": {name: values for name, values in good.items() if name != "first.weight"},
        "other_size": tensors("large"),
        "no_number": {**good, "layers.3.weight": good["layers.3.weight"] * float("nan")},
        "shape": {**good, "layers.12.weight": good["layers.12.weight"][:, :3].contiguous()},
    }
    for name, contents in cases.items():
        save_file(contents, tmp_path / f"{name}.safetensors")
    whole = (tmp_path / "other_size.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    for name in (*cases, "cut", "empty", "missing"):
        with pytest.raises(
            ModelError,
            match=rf"small cartoons, {name}\.safetensors, (are damaged|cannot be "
            r"read) \(.+\)\. Install",
        ):
            read_weights(tmp_path / f"{name}.safetensors", "small")
    save_file(good, tmp_path / "missing.safetensors")  # mended without a restart
    assert (
        read_weights(tmp_path / "missing.safetensors", "small").project.shape[1] == LATENTS["small"]
    )


@pytest.mark.child_process
def test_it_needs_no_pytorch() -> None:
    code = (
        "import sys; from avatar_pipeline.cartoons.signed import credited_cartoon; import "
        "avatar_pipeline.cartoons.generator as g; "
    )
    code += "g.draw(1, 'small'); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
