"""Join a UNet and a VNet, each trained by itself, to the one checkpoint of the pair.

    python docs/how-to/join_networks.py unet/models/model_final.pt vnet/models/model_final.pt model.pt

The first is of ``supervised_unet.json``, the second of ``supervised_vnet.json``. ``--axial`` names a third, of
``supervised_unet.json`` and axial slices alone: it reads these, the other two the sagittal ones. ``--half`` writes
kernels in half precision, which halves the file; a network that loads them computes in single precision as ever.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from spinefuse_ext.files import atomic_write
from spinefuse_ext.networks.planes import BY_ITSELF
from spinefuse_ext.safe_load import load_plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unet", type=Path)
    parser.add_argument("vnet", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--axial", type=Path, help="a UNet for axial slices")
    parser.add_argument("--half", action="store_true", help="write kernels as float16")
    options = parser.parse_args()
    joined: dict[str, Any] = {}
    for name in ("unet", "vnet"):
        weights = load_plain(getattr(options, name))
        planes = weights.pop("seen_planes", torch.zeros(3, dtype=torch.uint8)) * joined.get("seen_planes", 1)
        joined |= {key.replace("network", name, 1): value for key, value in weights.items()}
        joined["seen_planes"] = planes  # those that both learnt
    if options.axial:
        weights = load_plain(options.axial)
        joined |= {key.replace("network", "axial", 1): weights[key] for key in weights if key != "seen_planes"}
        joined["seen_planes"] = torch.tensor([1, 0, BY_ITSELF], dtype=torch.uint8)
    if options.half:
        joined = {key: value.half() if value.ndim > 1 else value for key, value in joined.items()}
    joined = {key: value.contiguous() for key, value in joined.items()}
    with atomic_write(options.out) as new:
        torch.save(joined, new)


if __name__ == "__main__":
    main()
