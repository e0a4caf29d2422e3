"""Qabf and SSIM beside the plain composition of published evaluators in NumPy, SciPy and scikit-image, in turns."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity as skimage_ssim

from spinefuse_ext.metrics import edge_preservation, structural_similarity

Image = NDArray[np.floating[Any]]
ALONG_W = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=np.float32)


def plain_edge_preservation(fused: Image, ct: Image, mr: Image) -> float:
    """Xydeas & Petrovic 2000, formula by formula."""
    (g_f, a_f), *sources = (sobel(image) for image in (fused, ct, mr))
    kept = [preserved(strength, angle, g_f, a_f) * strength for strength, angle in sources]
    return float(sum(part.sum() for part in kept) / sum(strength.sum() for strength, _ in sources))


def sobel(image: Image) -> tuple[Image, Image]:
    across, down = convolve2d(image, ALONG_W, mode="same"), convolve2d(image, -ALONG_W.T, mode="same")
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.where(across == 0, np.pi / 2, np.arctan(down / across))
    return np.sqrt(across**2 + down**2), angle


def preserved(g_s: Image, a_s: Image, g_f: Image, a_f: Image) -> Image:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(g_s > g_f, g_f / g_s, np.where(g_s == g_f, g_f, g_s / g_f))
    strength = 0.9994 / (1 + np.exp(-15 * (ratio - 0.5)))
    turned: Image = strength * 0.9879 / (1 + np.exp(-22 * (1 - np.abs(a_s - a_f) / (np.pi / 2) - 0.8)))
    return turned


def plain_structural_similarity(fused: Image, ct: Image, mr: Image) -> float:
    return float(sum(skimage_ssim(fused, source, data_range=2.0) for source in (ct, mr)))  # type: ignore[no-untyped-call]


PLAIN: dict[str, tuple[Callable[[Image, Image, Image], float], Callable[..., torch.Tensor]]] = {
    "Qabf": (plain_edge_preservation, edge_preservation),
    "SSIM": (plain_structural_similarity, structural_similarity),
}


def in_turns(works: Iterable[Callable[[], object]], repeats: int) -> list[list[float]]:
    """CPU seconds of every piece of work in every round: what slows the machine down for a while slows all of them."""
    listed = list(works)
    seconds: list[list[float]] = [[] for _ in listed]
    for _ in range(repeats + 1):  # the first round also allocates
        for work, times in zip(listed, seconds, strict=True):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
    return [times[1:] for times in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="pixels along an axis")
    parser.add_argument("--repeats", type=int, default=31)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    fused, ct, mr = rng.integers(0, 256, (3, options.size, options.size)).astype(np.float32)
    images = torch.from_numpy(fused)[None, None], torch.from_numpy(np.stack((ct, mr)))[None]
    sys.stdout.write(f"{'score':<8}{'plain ms':>10}{'ours ms':>10}{'ours / plain':>14}{'difference':>12}\n")
    for name, (plain, ours) in PLAIN.items():
        works: tuple[Callable[[], object], ...] = (
            lambda plain=plain: plain(fused, ct, mr),
            lambda ours=ours: ours(*images, data_range=255),
        )
        before, now = in_turns(works, options.repeats)
        ratio = statistics.median(mine / theirs for theirs, mine in zip(before, now, strict=True))
        difference = abs(float(ours(*images, data_range=255)) - plain(fused, ct, mr))
        medians = [1000 * statistics.median(times) for times in (before, now)]
        sys.stdout.write(f"{name:<8}{medians[0]:>10.1f}{medians[1]:>10.1f}{ratio:>14.2f}{difference:>12.1e}\n")


if __name__ == "__main__":
    main()
