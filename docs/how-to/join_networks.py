"""Join a UNet and a VNet, each trained by itself, to the one checkpoint of the pair.

    python docs/how-to/join_networks.py unet/models/model_final.pt vnet/models/model_final.pt model.pt

The first is of ``supervised_unet.json``, the second of ``supervised_vnet.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from spinefuse_ext.files import atomic_write
from spinefuse_ext.safe_load import load_plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unet", type=Path)
    parser.add_argument("vnet", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    joined: dict[str, Any] = {}
    for name in ("unet", "vnet"):
        weights = load_plain(getattr(options, name))
        planes = weights.pop("seen_planes", torch.zeros(3, dtype=torch.uint8)) * joined.get("seen_planes", 1)
        joined |= {key.replace("network", name, 1): value.contiguous() for key, value in weights.items()}
        joined["seen_planes"] = planes  # those that both learnt
    with atomic_write(options.out) as new:
        torch.save(joined, new)


if __name__ == "__main__":
    main()
