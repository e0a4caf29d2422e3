"""What the models of the server do with one image: fuse it, segment a fused one, or both."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import SaveImaged, Transform
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.tasks.infer.bundle import BundleInferTask

from spinefuse_ext.data.find_case_files import case_name
from spinefuse_ext.enums import CaseKeys
from spinefuse_ext.files import atomic_write
from spinefuse_ext.literal import check_literal
from spinefuse_ext.metrics.trust import disagreement_share, trust_scores
from spinefuse_ext.monai_label.fused import FusedVolumes
from spinefuse_ext.monai_label.requests import checked, device_name, registration_settings
from spinefuse_ext.networks import each_sub_network
from spinefuse_ext.registration.models import Model
from spinefuse_ext.safe_load import check_archive
from spinefuse_ext.transforms import KeepSpined, SaveOverlayd, SaveSegd, SaveTrustd, SplitSubNetworksd
from spinefuse_ext.validation import check_exists

logger = logging.getLogger(__name__)

#: Steps of a bundle that write beside its results; a server has its own place for them.
_WRITERS = (SaveImaged, SaveOverlayd, SaveSegd, SaveTrustd)
REGISTRATION = {"registration_model": [str(model) for model in Model], "registration_refine": False}


class _BundleTask(BundleInferTask):
    """A bundle's inference for volumes, whose weights must fit, without the files that a bundle run writes."""

    def __init__(self, bundle: Path, conf: Mapping[str, str], **options: Any) -> None:
        super().__init__(str(bundle), dict(conf), post_filter=list(_WRITERS), load_strict=True, **options)
        self.dimension = 3
        files = [name for name in self._config["model_filename"] if not name.startswith("training_epoch_")]
        self._config["model_filename"] = files

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> Any:
        return super().__call__(checked(request), callbacks)

    def _update_device(self, data: Any) -> None:
        super()._update_device({"device": device_name("device", data.get("device"))} if data else data)

    def _get_network(self, device: str, data: Any) -> Any:
        """The network with the weights of the request or of the bundle, an archive that holds nothing but tensors."""
        asked = _first((data or {}).get("model_filename"))
        path = Path(self.bundle_path) / "models" / asked if asked else self.get_path()
        check_archive(check_exists(path, "The weight file"))
        return super()._get_network(device, data)


class FusionTask(_BundleTask):
    """CT and MR -> fused volume, float32, on the grid of the CT; the MR is registered by what lies beside it.

    ``/info`` gives it no labels and the type "others", so that a client does not take the volume for a label.
    """

    def __init__(self, bundle: Path, conf: Mapping[str, str]) -> None:
        super().__init__(bundle, conf, type=InferType.OTHERS)
        self.labels: dict[str, int] = {}
        self._config.update(REGISTRATION)

    def pre_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        settings = check_literal(registration_settings(data or {}), "The request")
        self.bundle_config.update(settings)
        self.bundle_config.parse()
        steps: Sequence[Callable[..., Any]] = super().pre_transforms(data)
        return steps


class SegmentationTask(_BundleTask):
    """Fused volume -> labels, uint8, on its grid; the answer's ``params`` tell trust and disagreement.

    Both sub-networks are asked in one pass.
    """

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> Any:
        return super().__call__({"result_dtype": "uint8", **request}, callbacks)

    def post_transforms(self, data: Any = None) -> Sequence[Callable[..., Any]]:
        steps = list(super().post_transforms(data))
        place = max(number for number, step in enumerate(steps) if isinstance(step, (SplitSubNetworksd, KeepSpined)))
        names = {0: "background", **{index: name for name, index in self.labels.items()}}
        return [*steps[: place + 1], TellTrust(names), *steps[place + 1 :]]

    def _get_network(self, device: str, data: Any) -> torch.nn.Module:
        return each_sub_network(super()._get_network(device, data)).eval()


class TellTrust(Transform):
    """Put ``trust`` of each structure and ``disagreement`` of the sub-networks into ``result``, which is answered.

    Args:
        labels: index -> name of the classes.
    """

    def __init__(self, labels: Mapping[int, str]) -> None:
        self.labels = dict(labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        members = [d[key] for key in ("pred_unet", "pred_vnet") if key in d]
        scores = trust_scores(torch.as_tensor(d[CaseKeys.PRED]), members, self.labels)
        trust = {name: _known(values["trust"]) for name, values in scores.items()}
        result: dict[str, Any] = {"trust": trust}
        if len(members) == 2:
            result["disagreement"] = disagreement_share(members[0], members[1])
        d["result"] = {**d.get("result", {}), **result}
        return d


class ChainTask(InferTask):
    """CT and MR -> labels on the grid of the CT, in one request: find the pair, register, fuse, segment.

    Request parameters beside those of the two models: ``keep_fused`` also writes the fused volume as
    ``fused/CASE_fused.nii.gz`` beside the CT.
    """

    def __init__(self, fused: FusedVolumes, segmentation: SegmentationTask) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=segmentation.labels,
            dimension=3,
            description="Vertebrae, sacrum, discs and canal from CT and MR: the MR is found, registered, fused first.",
            config={"device": segmentation.config()["device"], **REGISTRATION, "keep_fused": False},
        )
        self.fused, self.segmentation = fused, segmentation

    def is_valid(self) -> bool:
        return bool(self.segmentation.is_valid())

    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = super().info()
        return {**info, "version": self.segmentation.version}

    def get_path(self, validate: bool = True) -> Any:
        return self.segmentation.get_path(validate)

    def __call__(self, request: dict[str, Any], callbacks: Any = None) -> Any:
        request = checked(request)
        request |= registration_settings(request)
        volume = self.fused.of(request)
        if request.get("keep_fused") is True:
            _keep(volume, Path(request["image"]))
        taken = ("model_filename", "model", "mr", "ct")
        rest = {name: value for name, value in request.items() if name not in taken}
        return self.segmentation(
            {"result_extension": ".nii.gz", **rest, "image": str(volume), "fused": str(volume)}, callbacks
        )


def _keep(volume: Path, image: Path) -> None:
    target = image.parent / CaseKeys.FUSED / f"{case_name(image) or image.parent.name}_fused.nii.gz"
    with atomic_write(target) as temporary:
        shutil.copyfile(volume, temporary)
    logger.info("The fused volume is in %s.", target)


def _first(value: Any) -> Any:
    return (value[0] if value else None) if isinstance(value, list) else value


def _known(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
