"""One cartoon from a seed, drawn by a shipped generator. It needs NumPy alone.

networks.py's generator was trained by PyTorch, but one cartoon is 26 (small) or 47 (large) million
multiplications: NumPy does them in 0.8 or 1.3 ms on one core, as fast as PyTorch with channels_last
does, and the service saves the second and the 200 MB that importing PyTorch takes. Batch norm is
folded into the weights when they are loaded; tests hold every number against PyTorch's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from avatar_pipeline.cartoons.attributes import LATENTS, PIXELS, Size, chosen, draw_latents
from avatar_pipeline.core.errors import ModelError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

WEIGHTS = Path(__file__).parent / "weights"
EPSILON = 1e-5  # of PyTorch's batch norm

# Alpha, 0 to 255, up to which a pixel is nothing, and from which on it is all there: a network is
# nowhere exactly 0 or 255. A tenth of the range at most, so that soft edges stay soft.
NOTHING, EVERYTHING = 10.0, 245.0


@dataclass(frozen=True)
class Weights:
    """A generator, ready to draw.

    project: (channels x start x start, latent size). layers: for each transposed convolution a
    matrix (4 x 4 x channels out, channels in) and a bias (channels out, 1, 1). sha256: of the file.
    """

    sha256: str
    start: int
    project: np.ndarray
    bias: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]


def draw(seed: int, size: Size) -> Image.Image:
    """Return the cartoon of a seed: RGBA with straight alpha, 96x96 or 128x128. The same pixels
    each time, on the same machine.

    Raises ModelError when the weights are missing or damaged.
    """
    return picture(forward(weights(size), chosen(draw_latents(size, 1, seed), size)[0]))


def on_white(image: Image.Image) -> Image.Image:
    """Return an RGBA picture as RGB, on white."""
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def forward(weights: Weights, hot: np.ndarray) -> np.ndarray:
    """Run the generator on what the latents choose, (latent size,) zeros and ones -> (4, pixels,
    pixels) float32, premultiplied RGBA from -1 to 1.
    """
    with _threads().limit(limits=1, user_api="blas"):
        values = np.maximum(weights.project @ hot + weights.bias, 0).reshape(
            -1, weights.start, weights.start
        )
        for matrix, bias in weights.layers[:-1]:
            values = _enlarge(values, matrix, bias)
            np.maximum(values, 0, out=values)
        return np.tanh(_enlarge(values, *weights.layers[-1]))


def picture(values: np.ndarray) -> Image.Image:
    """Return (4, height, width), premultiplied RGBA from -1 to 1 -> RGBA with straight alpha. What
    is invisible has no colour.
    """
    scaled = (values + 1) * 127.5
    alpha = scaled[3]
    alpha[alpha <= NOTHING] = 0
    alpha[alpha >= EVERYTHING] = 255
    straight = np.empty((*alpha.shape, 4), np.uint8)
    straight[..., 3] = alpha = alpha.round()
    # A colour times its alpha is never more than the alpha, but the network may say so: an edge
    # would shine.
    colours = scaled[:3] * (255 / np.maximum(alpha, 1)) * (alpha > 0)
    straight[..., :3] = np.moveaxis(colours.round().clip(0, 255), 0, 2)
    return Image.fromarray(straight, "RGBA")


@cache
def _threads() -> ThreadpoolController:
    """Limit the threads of NumPy's matrix library: it takes all cores, and on busy ones its threads
    wait for each other: 18 ms were seen instead of one.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def weights(size: Size) -> Weights:
    """Return the shipped generator of a size, read once. Raises ModelError when its file is missing
    or damaged.
    """
    return _kept(WEIGHTS / f"{size}.safetensors", size)


@cache
def _kept(path: Path, size: Size) -> Weights:
    return read_weights(path, size)


def read_weights(path: Path, size: Size) -> Weights:
    """Return a generator from its file, as training.py writes it. Raises ModelError when the file
    is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    again = "Install avatar_pipeline again, or train it: materialize cartoon_gan_" + size
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"The weights of the {size} cartoons, {path.name}, cannot be read "
            f"({error.strerror}). {again}"
        ) from None
    try:
        tensors = {name: values.astype(np.float32) for name, values in load(data).items()}
        return _folded(tensors, size, hashlib.sha256(data).hexdigest())
    except (SafetensorError, KeyError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ModelError(
            f"The weights of the {size} cartoons, {path.name}, are damaged ({reason}). {again}"
        ) from None


def _folded(tensors: Mapping[str, np.ndarray], size: Size, sha256: str) -> Weights:
    """Return weights with batch norm in them. Raises KeyError or ValueError for tensors that are
    not those of a generator of this size.
    """
    if broken := [name for name, values in tensors.items() if not np.isfinite(values).all()]:
        raise ValueError(f"{broken[0]} holds numbers that are none")
    kernels = [
        tensors[name]
        for name in sorted(tensors, key=_place)
        if name.startswith("layers.") and tensors[name].ndim == 4
    ]
    start = PIXELS[size] // 2 ** len(kernels)
    widths = [kernel.shape[0] for kernel in kernels] + [4]
    wanted = [(wide, narrow, 4, 4) for wide, narrow in pairwise(widths)]
    if not kernels or [kernel.shape for kernel in kernels] != wanted:
        raise ValueError("its convolutions do not follow on each other")
    project = tensors["project.weight"]
    if project.shape != (widths[0] * start**2, LATENTS[size]):
        raise ValueError(f"project.weight is of shape {project.shape}")
    scale, shift = (
        np.repeat(values, start**2) for values in _batch_norm(tensors, "first", widths[0])
    )
    layers = []
    for index, kernel in enumerate(kernels[:-1]):
        factor, bias = _batch_norm(tensors, f"layers.{3 * index + 1}", widths[index + 1])
        layers.append((_matrix(kernel * factor[None, :, None, None]), bias[:, None, None]))
    last = tensors[f"layers.{3 * len(kernels) - 3}.bias"]
    if last.shape != (4,):
        raise ValueError(f"the last bias is of shape {last.shape}")
    return Weights(
        sha256,
        start,
        project * scale[:, None],
        shift,
        (*layers, (_matrix(kernels[-1]), last[:, None, None])),
    )


def _batch_norm(
    tensors: Mapping[str, np.ndarray], name: str, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a batch norm multiplies by and adds, for each channel."""
    weight, bias, mean, variance = (
        tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    if {values.shape for values in (weight, bias, mean, variance)} != {(width,)} or (
        variance < 0
    ).any():
        raise ValueError(f"{name} is not a batch norm of {width} channels")
    factor = weight / np.sqrt(variance + EPSILON)
    return factor, bias - mean * factor


def _matrix(kernel: np.ndarray) -> np.ndarray:
    """Return (channels in, channels out, 4, 4) -> (4 x 4 x channels out, channels in)."""
    return np.ascontiguousarray(kernel.transpose(2, 3, 1, 0).reshape(-1, len(kernel)))


def _enlarge(values: np.ndarray, matrix: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return a transposed convolution, kernel 4, stride 2, padding 1: (channels in, height, width)
    -> (channels out, 2 height, 2 width).

    Along either axis an even pixel 2m is tap 1 of pixel m and tap 3 of m - 1, an odd one 2m + 1 is
    tap 2 of m and tap 0 of m + 1.
    """
    channels, height, width = values.shape
    taps = (matrix @ values.reshape(channels, -1)).reshape(4, 4, -1, height, width)
    taps[1][..., 1:, :] += taps[3][..., :-1, :]
    taps[2][..., :-1, :] += taps[0][..., 1:, :]
    large = np.empty((len(bias), height, 2, width, 2), np.float32)
    for odd, rows in enumerate((taps[1], taps[2])):
        rows[1][..., 1:] += rows[3][..., :-1]
        rows[2][..., :-1] += rows[0][..., 1:]
        large[:, :, odd, :, 0], large[:, :, odd, :, 1] = rows[1], rows[2]
    enlarged = large.reshape(-1, 2 * height, 2 * width)
    enlarged += bias
    return enlarged


def _place(name: str) -> int:
    return int(name.split(".")[1]) if name.startswith("layers.") else -1
