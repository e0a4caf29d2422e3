"""Seconds and memory of the main steps, each in a process of its own: ``make bench``."""

from __future__ import annotations

import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

Step = Callable[[], None]


def fuse_one_pair(bfloat16: bool = False, **options: str) -> Step:
    from spinefuse_ext.networks import SpineFusionNet, keep_freed_memory

    keep_freed_memory()
    network = SpineFusionNet(**options).eval()
    pair = torch.rand(1, 2, 512, 512)

    def step() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            network(pair)

    return step


def fusion_training_step(checkpointing: bool = False) -> Step:
    from spinefuse_ext.losses import DecompositionLoss, FusionLoss
    from spinefuse_ext.networks import SpineFusionNet, keep_freed_memory

    keep_freed_memory()
    network = SpineFusionNet(checkpointing=checkpointing)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    fusion, decomposition = FusionLoss(), DecompositionLoss()
    pair = torch.rand(2, 2, 128, 128)

    def step() -> None:
        optimizer.zero_grad()
        features = network.encode(pair)
        (fusion(network.fuse_features(features, pair), pair) + 2 * decomposition(*features)).backward()
        optimizer.step()

    return step


def segmentation_training_step() -> Step:
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    from spinefuse_ext.networks import DualSegNet, VNet

    widths = (16, 32, 64, 128, 256)
    network = DualSegNet(UNet(2, 1, 4, widths, (2, 2, 2, 2), num_res_units=2), VNet(2, 1, 4))
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    image, label = torch.rand(4, 1, 128, 160), torch.randint(0, 4, (4, 1, 128, 160))

    def step() -> None:
        optimizer.zero_grad()
        sum(loss(logits, label) for logits in network(image)).backward()
        optimizer.step()

    return step


def score_fidelity() -> Step:
    from spinefuse_ext.metrics import visual_information_fidelity

    fused, pair = torch.rand(1, 1, 512, 512), torch.rand(1, 2, 512, 512)
    return lambda: visual_information_fidelity(fused, pair)


def score_information() -> Step:
    from spinefuse_ext.metrics import mutual_information

    fused, pair = torch.randint(0, 256, (1, 1, 512, 512)) / 255, torch.randint(0, 256, (1, 2, 512, 512)) / 255
    return lambda: mutual_information(fused, pair)


def phantom_case() -> Step:
    from spinefuse_ext.data import make_phantom

    return lambda: make_phantom(0)


STEPS: dict[str, tuple[Callable[[], Step], int]] = {
    "phantom case, 128 mm at 1 mm": (phantom_case, 1),
    "fuse one 512 x 512 pair, default network": (fuse_one_pair, 3),
    "fuse one pair, default network, bfloat16": (partial(fuse_one_pair, True), 3),
    "fuse one pair, CDDFuse composition": (partial(fuse_one_pair, base="cddfuse", detail="inn"), 3),
    "fusion training step, batch 2 of 128 x 128, stage 2": (fusion_training_step, 3),
    "fusion training step, checkpointing": (partial(fusion_training_step, True), 3),
    "segmentation training step, 4 images of 128 x 160": (segmentation_training_step, 5),
    "VIF of one 512 x 512 pair": (score_fidelity, 5),
    "MI of one 512 x 512 pair of 8 bit": (score_information, 20),
}


def measure(name: str, queue: multiprocessing.Queue[tuple[float, float, float]]) -> None:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    make, repeats = STEPS[name]
    step = make()
    step()  # the first call also allocates
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    queue.put((min(walls), min(cpus), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def main() -> None:
    sys.stdout.write(f"{platform.processor() or platform.machine()}, 2 threads, torch {torch.__version__}\n")
    sys.stdout.write(f"{'step (best of a few)':<54}{'wall s':>8}{'CPU s':>8}{'peak GiB':>10}\n")
    context = multiprocessing.get_context("spawn")
    for name in STEPS:
        queue = context.Queue()
        process = context.Process(target=measure, args=(name, queue))
        process.start()
        wall, cpu, peak = queue.get()
        process.join()
        sys.stdout.write(f"{name:<54}{wall:>8.3f}{cpu:>8.3f}{peak:>10.2f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
