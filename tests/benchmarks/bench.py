"""Seconds and memory of the main steps, each in a process of its own, and what they are to be: ``make bench``."""

from __future__ import annotations

import argparse
import atexit
import json
import multiprocessing
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn

Step = Callable[[], None]
STAGE3 = (5.0, 2.0, 6.0, 30.0, 10.0, 1.0)  # weights of the terms of the loss
PAIRS, SIZE = 8, 512  # pairs in a batch and pixels along an axis of the throughput on a GPU


def fuse_one_pair(bfloat16: bool = False, **options: str) -> Step:
    from spinefuse_ext.networks import SpineFusionNet, keep_freed_memory

    keep_freed_memory()
    network = SpineFusionNet(**options).eval()
    pair = torch.rand(1, 2, 512, 512)

    def step() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            network(pair)

    return step


def fuse_one_pair_naively() -> Step:
    from naive_cddfuse import NaiveCDDFuse

    from spinefuse_ext.networks import SpineFusionNet

    network = NaiveCDDFuse(SpineFusionNet(base="cddfuse", detail="inn").eval())  # and memory as the system gives it
    pair = torch.rand(1, 2, 512, 512)

    def step() -> None:
        with torch.inference_mode():
            network(pair)

    return step


def fusion_training_step(checkpointing: bool = False, stage3: bool = False) -> Step:
    from spinefuse_ext.losses import DecompositionLoss, StructureFusionLoss
    from spinefuse_ext.networks import SpineFusionNet, keep_freed_memory

    keep_freed_memory()
    network = SpineFusionNet(output="correction", checkpointing=checkpointing)
    network.train_softly(not stage3)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    fusion, decomposition = StructureFusionLoss(*STAGE3 if stage3 else ()), DecompositionLoss()
    pair = torch.rand(2, 2, 128, 128)

    def step() -> None:
        optimizer.zero_grad()
        features = network.encode(pair)
        (fusion(network.fuse_features(features, pair), pair) + 2 * decomposition(*features)).backward()
        optimizer.step()

    return step


def segmentation_training_step() -> Step:
    from monai.losses import DiceCELoss

    network = _pair(2)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    image, label = torch.rand(4, 1, 128, 160), torch.randint(0, 4, (4, 1, 128, 160))

    def step() -> None:
        optimizer.zero_grad()
        sum(loss(logits, label) for logits in network(image)).backward()
        optimizer.step()

    return step


def semi_supervised_step_3d() -> Step:
    """A step of the competing pair in 3-D on 2 labelled and 2 unlabelled patches, as the trainer takes it."""
    from spinefuse_ext.engines import SemiSupervisedTrainer
    from spinefuse_ext.handlers import CompetitivePseudoLabelHandler
    from spinefuse_ext.losses import SemiSupervisedLoss
    from spinefuse_ext.networks import to_device

    size = (64, 64, 48)
    network = to_device(_pair(3), "cpu", channels_last=True)
    labelled = {"image": torch.rand(2, 1, *size), "label": torch.randint(0, 4, (2, 1, *size))}
    trainer = SemiSupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[labelled],
        unlabelled_data_loader=[{"image": torch.rand(2, 1, *size)}],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=1e-4, fused=True),
        loss_function=SemiSupervisedLoss(),
        train_handlers=[CompetitivePseudoLabelHandler()],
        decollate=False,
        amp=True,
    )

    def step() -> None:
        trainer.run()
        trainer.state.max_epochs += 1

    return step


def bundle_step(task: str, **settings: Any) -> Step:
    """A step of a bundle's training as its ``train.json`` has it, data and augmentation included, on phantoms."""
    from ignite.engine import Events
    from monai.bundle import ConfigParser

    root = Path(__file__).parents[2] / "bundles" / f"spine_{task}"
    parser = ConfigParser(ConfigParser.load_config_file(root / "configs" / "train.json"))
    folder = Path(tempfile.mkdtemp())  # gone with the process, of which it is the only one
    atexit.register(shutil.rmtree, folder)
    parser.update(
        {"bundle_root": str(root), "dataset_dir": str(folder), "datalist": str(_phantoms(folder)), **settings}
    )
    parser.update({"epochs": 1000, "crops_per_case": 64, "train#handlers": [], **settings})
    trainer = parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_STARTED, _go_to_epoch, 500)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: engine.interrupt())
    return cast(Step, trainer.run)  # after an interrupt it goes on with the next step


def _go_to_epoch(engine: Any, epoch: int) -> None:
    engine.state.epoch = epoch


def _phantoms(folder: Path) -> Path:
    """Write a labelled and an unlabelled phantom, and one for validation; return their datalist."""
    from spinefuse_ext.data import write_phantoms

    write_phantoms(folder, cases=3, spacing_mm=1.6, dicom=False)
    files = {"ct": "ct", "mr": "mr_aligned", "fused": "mr_aligned", "label": "label"}
    items = [
        {"patient": f"case_{i:03d}", **{key: f"case_{i:03d}/{name}.nii.gz" for key, name in files.items()}}
        for i in range(3)
    ]
    unlabelled = {key: value for key, value in items[1].items() if key != "label"}
    path = folder / "datalist.json"
    path.write_text(json.dumps({"labelled": items[:1], "unlabelled": [unlabelled], "validation": items[2:]}))
    return path


def segment_volume() -> Step:
    """A sliding window over a volume of the size of the smallest left atrium scan of Xiong et al., both networks."""
    from spinefuse_ext.networks import to_device, window_inferer

    network = to_device(_pair(3), "cpu", channels_last=True).eval()
    inferer = window_inferer(3, (112, 112, 80), 0, amp=True, overlap=0.5, mode="gaussian")
    volume = torch.rand(1, 1, 148, 141, 88)

    def step() -> None:
        with torch.inference_mode():
            inferer(volume, network)

    return step


def _pair(dims: int) -> nn.Module:
    from monai.networks.nets import UNet

    from spinefuse_ext.networks import DualSegNet, VNet

    unet = UNet(dims, 1, 4, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2)
    return DualSegNet(unet, VNet(dims, 1, 4))


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


class Row(NamedTuple):
    """How a step is made, how often it is repeated, and what it is to take at most."""

    make: Callable[[], Step]
    repeats: int
    cpu_s: float | None = None
    peak_gib: float | None = None

    def target(self) -> str:
        limits = [f"{self.cpu_s:g} CPU s"] if self.cpu_s else []
        return ", ".join(limits + ([f"{self.peak_gib:g} GiB"] if self.peak_gib else []))


CDDFUSE: dict[str, Any] = {"base": "cddfuse", "detail": "inn"}
ROWS: dict[str, Row] = {
    "phantom case, 128 mm at 1 mm": Row(phantom_case, 1),
    "fuse one 512 x 512 pair, default network": Row(partial(fuse_one_pair, output="correction"), 8, 6, 2),
    "fuse one pair, default network, bfloat16": Row(partial(fuse_one_pair, True, output="correction"), 8, 4),
    "fuse one pair, CDDFuse composition": Row(partial(fuse_one_pair, **CDDFUSE), 8, 10),
    "fusion training step, batch 2 of 128 x 128, stage 2": Row(fusion_training_step, 8, 3.5),
    "fusion training step, stage 3": Row(partial(fusion_training_step, stage3=True), 8),
    "fusion training step, checkpointing": Row(partial(fusion_training_step, True), 8, None, 1.5),
    "segmentation training step, 4 images of 128 x 160": Row(segmentation_training_step, 5),
    "semi-supervised step, 2 + 2 patches of 64 x 64 x 48, bfloat16": Row(semi_supervised_step_3d, 4, 2.8),
    "train spine_semiseg, a step of train.json": Row(partial(bundle_step, "semiseg"), 5),
    "train spine_semiseg, bfloat16": Row(partial(bundle_step, "semiseg", amp=True), 5),
    "train spine_fusion, a step of train.json, batch 2": Row(partial(bundle_step, "fusion", batch_size=2), 5),
    "train spine_fusion, batch 2, bfloat16": Row(partial(bundle_step, "fusion", batch_size=2, amp=True), 5),
    "segment 148 x 141 x 88, windows of 112 x 112 x 80, bfloat16": Row(segment_volume, 1, 3.3),
    "VIF of one 512 x 512 pair": Row(score_fidelity, 5, 0.2),
    "MI of one 512 x 512 pair of 8 bit": Row(score_information, 50, 0.005),
}
NAIVE = {"fuse one pair, CDDFuse composition, naive": Row(fuse_one_pair_naively, 2)}


def measure(name: str, threads: int, queue: multiprocessing.Queue[tuple[float, float, float]]) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    row = (ROWS | NAIVE)[name]
    step = row.make()
    step()  # the first call also allocates
    walls, cpus = [], []
    for _ in range(row.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    queue.put((min(walls), min(cpus), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def pairs_per_second(network: nn.Module, device: str, size: int = SIZE, repeats: int = 10) -> float:
    """Batches of ``PAIRS`` pairs of ``size`` x ``size`` pixels in bfloat16, after two that also compile."""
    pairs = torch.rand(PAIRS, 2, size, size, device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
        for _ in range(2):
            network(pairs)
        wait()
        start = time.perf_counter()
        for _ in range(repeats):
            network(pairs)
        wait()
    return PAIRS * repeats / (time.perf_counter() - start)


def measure_throughput(device: str, **options: int) -> None:
    """Print a row for each way to run each network on ``device``."""
    from naive_cddfuse import NaiveCDDFuse

    from spinefuse_ext.networks import SpineFusionNet
    from spinefuse_ext.networks.device import to_device

    networks: dict[str, Callable[[], nn.Module]] = {
        "CDDFuse composition, naive": lambda: NaiveCDDFuse(SpineFusionNet(**CDDFUSE)),
        "CDDFuse composition": lambda: SpineFusionNet(**CDDFUSE),
        "default network": lambda: SpineFusionNet(output="correction"),
    }
    write(f"\n{f'batch {PAIRS}, bfloat16, inference':<54}{'pairs/s':>10}{'naive x':>10}\n")
    first = None
    for name, make in networks.items():
        for compiled in (False, True):
            network = to_device(make().eval(), device, compile=compiled)
            if compiled and isinstance(network, NaiveCDDFuse):
                network.compile()  # it calls none of its children, which `place` compiles
            rate = pairs_per_second(network, device, **options)
            first = first or rate
            write(f"{name + (', torch.compile' if compiled else ''):<54}{rate:>10.2f}{rate / first:>10.2f}\n")


def machine(threads: int) -> str:
    """Processor, cores and versions, in words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    graphics = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {os.cpu_count()} cores, threads used: {threads}{graphics}, torch {torch.__version__}"


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="measure only the rows whose names contain one of these words")
    parser.add_argument("--naive", action="store_true", help="also the naive CDDFuse composition, half a minute a pass")
    parser.add_argument("--threads", type=int, default=2, help="1 gives steadier CPU seconds on a busy machine")
    options = parser.parse_args()
    rows = ROWS | NAIVE if options.naive else ROWS
    chosen = {name: row for name, row in rows.items() if any(word in name for word in options.rows or [""])}
    write(f"{machine(options.threads)}\n")
    write(f"{'step (best of a few)':<54}{'wall s':>8}{'CPU s':>8}{'peak GiB':>10}  target, at most\n")
    context = multiprocessing.get_context("spawn")
    for name, row in chosen.items():
        queue = context.Queue()
        process = context.Process(target=measure, args=(name, options.threads, queue))
        process.start()
        wall, cpu, peak = queue.get()
        process.join()
        write(f"{name:<54}{wall:>8.3f}{cpu:>8.3f}{peak:>10.2f}  {row.target()}\n")
    if torch.cuda.is_available() and not options.rows:
        measure_throughput("cuda")


if __name__ == "__main__":
    main()
