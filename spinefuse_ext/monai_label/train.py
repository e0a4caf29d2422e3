"""Training from the server: the segmentation with unlabelled cases, the fusion with all cases."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.train.bundle import BundleTrainTask

from spinefuse_ext.enums import CaseKeys, RegistrationKeys
from spinefuse_ext.literal import check_literal, unread
from spinefuse_ext.monai_label.cases import each_case, label_names, labelled_files
from spinefuse_ext.monai_label.fused import PAIR, FusedVolumes
from spinefuse_ext.monai_label.requests import checked
from spinefuse_ext.safe_load import check_archive
from spinefuse_ext.transforms import FindImagesd
from spinefuse_ext.validation import DatalistError, check_exists

logger = logging.getLogger(__name__)

_NO_FILE = "none.pt"


class _TrainTask(BundleTrainTask):
    """MONAI Label's training of a bundle, with defaults for what a request does not say.

    Validation is never rarer than once at the end, so that a short training leaves its weights too. The state of a
    training that was stopped is deleted: the next one begins with the best weights.
    """

    def __init__(self, bundle: Path, conf: Mapping[str, str]) -> None:
        super().__init__(str(bundle), dict(conf))
        self.settings: dict[str, Any] = {}

    def config(self) -> dict[str, Any]:
        options: dict[str, Any] = super().config()
        files = [name for name in options["model_filename"] if not name.startswith("training_epoch_")]
        ours = {name for shown in self._shown() for name in shown}  # what the server itself says by its data store
        return {**{name: value for name, value in options.items() if name not in ours}, "model_filename": files}

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> Any:
        request = checked(request, str(settings.MONAI_LABEL_TRACKING_URI or ""))
        for shown in self._shown():  # MONAI Label 0.8.5 fails when a request leaves one out; none is for clients
            request = {**request, **shown}
        if not request.get("pretrained", True):  # MONAI Label 0.8.5 fails on it; a file that is not there is the same
            request = {**request, "pretrained": True, "model_filename": _NO_FILE}
        for state in (Path(self.bundle_path) / "models").glob("training_epoch_*.pt"):
            state.unlink()
        self._check_start(request)
        epochs = int(request.get("max_epochs", 50))
        interval = min(epochs, int(self.bundle_config.get_parsed_content("val_interval")))
        self.settings = {"epochs": epochs, "val_interval": interval, **self._settings(request, datastore)}
        return super().__call__(request, datastore)

    def _check_start(self, request: Mapping[str, Any]) -> None:
        """Raise for a file of weights to begin with that is none."""
        name = request.get("model_filename") or self.const.model_pytorch()
        path = Path(self.bundle_path) / "models" / name
        if name != _NO_FILE:
            check_archive(check_exists(path, "The weight file"))

    def _settings(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Further settings by config id."""
        raise NotImplementedError

    def _shown(self) -> list[dict[str, Any]]:
        """The options that the bundle itself would show to a client."""
        names = [name for name in self.const.key_displayable_configs() if name in self.bundle_config]
        return [self.bundle_config.get_parsed_content(name) for name in names]

    def _repeated(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each item as often as a datalist would give it, for several crops of a case per epoch."""
        return list(items) * int(self.bundle_config.get_parsed_content("crops_per_case"))

    def _partition_datalist(self, datalist: Any, request: Mapping[str, Any], shuffle: bool = False) -> Any:
        """Training and validation items. Where there are too few for both, all are in both, which is a warning."""
        split = float(request.get("val_split", 0.2))
        held = round(len(datalist) * split) if split > 0 else 0
        held = max(held, 1) if split > 0 and len(datalist) > 1 else held
        train, validation = list(datalist[: len(datalist) - held]), list(datalist[len(datalist) - held :])
        if not train or not validation:
            logger.warning("No case is kept for validation: the scores are those of cases that were trained on.")
            train = validation = list(datalist)
        logger.info("Training with %d cases, validation with %d.", len(train), len(validation))
        return self._repeated(train), validation

    def _update_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        """Add the settings; what the request or the data store gave is checked to be data, whatever is done with it.

        File names are handed over unread, so that any of them stays what it is.
        """
        overrides.update(self.settings)
        own = (self.const.key_train_handlers(), self.const.key_bundle_root())  # of the bundle's files and place
        for name, value in overrides.items():
            if name.endswith("#data"):
                overrides[name] = unread(value)
            elif name not in own:
                check_literal(value, f"The setting {name}")
        return overrides


class SegmentationTrainTask(_TrainTask):
    """Training of the segmentation on fused volumes, which are made where they are missing.

    Labelled are the cases with a final label, unlabelled all others.
    """

    def __init__(self, bundle: Path, conf: Mapping[str, str], fused: FusedVolumes) -> None:
        super().__init__(bundle, conf)
        self.fused = fused

    def _fetch_datalist(self, request: Mapping[str, Any], datastore: Datastore) -> list[dict[str, Any]]:
        labels = labelled_files(datastore)
        volumes = each_case(sorted(labels), datastore, self._volume(request))
        if not volumes:
            raise DatalistError("No case with a final label can be trained on; label one and submit it first.")
        return [
            {str(CaseKeys.FUSED): path, str(CaseKeys.LABEL): labels[image], **_names(label_names(image, datastore))}
            for image, path in volumes.items()
        ]

    def _settings(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        images = sorted(set(datastore.list_images()) - set(labelled_files(datastore)))
        volumes = each_case(images, datastore, self._volume(request))
        logger.info("%d unlabelled cases: %s", len(volumes), ", ".join(volumes))
        if not volumes:
            logger.warning("No unlabelled case: the labelled ones serve as unlabelled too.")
            volumes = each_case(sorted(labelled_files(datastore)), datastore, self._volume(request))
        return {
            "train#unlabelled_dataset#data": self._repeated([{str(CaseKeys.FUSED): path} for path in volumes.values()])
        }

    def _volume(self, request: Mapping[str, Any]) -> Any:
        device = {"device": request["device"]} if request.get("device") else {}
        return lambda case: str(self.fused.of({**device, **case}))


def _names(names: Mapping[int, str]) -> dict[str, Any]:
    return {str(CaseKeys.LABEL_NAMES): dict(names)} if names else {}


class FusionTrainTask(_TrainTask):
    """Training of the fusion on every pair of the store; labels are not needed.

    A network that has weights already skips the stage in which it learns to reconstruct.
    """

    def _fetch_datalist(self, request: Mapping[str, Any], datastore: Datastore) -> list[dict[str, Any]]:
        find = FindImagesd(PAIR, registration=True)
        keys = [*PAIR, *(str(key) for key in RegistrationKeys)]
        pairs = each_case(sorted(datastore.list_images()), datastore, lambda case: find(dict(case.items())))
        if not pairs:
            raise DatalistError("No pair of CT and MR can be trained on; put some into the studies first.")
        return [{key: case[key] for key in keys if key in case} for case in pairs.values()]

    def _settings(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        starts_anew = request.get("model_filename") == _NO_FILE
        return {"stage1_epochs": int(request.get("max_epochs", 50)) // 3 if starts_anew else 0}
