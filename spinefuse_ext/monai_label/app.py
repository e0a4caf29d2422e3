"""The app: ``spine_chain``, ``spine_fusion`` and ``spine_semiseg`` on any data store of MONAI Label."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monailabel.app import app as server
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.activelearning.first import First
from monailabel.tasks.activelearning.random import Random

import spinefuse_ext
from spinefuse_ext.monai_label.bundles import BundleSource, provide_bundle
from spinefuse_ext.monai_label.errors import plain_answers
from spinefuse_ext.monai_label.fused import FusedVolumes
from spinefuse_ext.monai_label.infer import ChainTask, FusionTask, SegmentationTask
from spinefuse_ext.monai_label.requests import checked
from spinefuse_ext.monai_label.server import check_dcmqi
from spinefuse_ext.monai_label.sessions import CheckedSessions
from spinefuse_ext.monai_label.store import CaseDatastore, SeriesDatastore, missing_images
from spinefuse_ext.monai_label.strategy import NAME, Disagreement, DisagreementScoring, ScoreFile
from spinefuse_ext.monai_label.train import FusionTrainTask, SegmentationTrainTask
from spinefuse_ext.monai_label.web import protect_server
from spinefuse_ext.plain_errors import plain_message
from spinefuse_ext.printable import protect_log
from spinefuse_ext.verbs.archive import WEIGHTS
from spinefuse_ext.verbs.paths import BUNDLES

logger = logging.getLogger(__name__)

CHAIN = "spine_chain"
FUSION, SEGMENTATION = BUNDLES["fusion"], BUNDLES["semiseg"]


class SpineLabelApp(MONAILabelApp):
    """MONAI Label's app with the two bundles in ``app_dir/model``, copied or downloaded when they are not there.

    ``conf`` may hold ``bundles``, ``zoo_repo``, ``zoo_url``, ``zoo_version`` and ``checksums``, as
    :class:`~spinefuse_ext.monai_label.bundles.BundleSource` describes them, and ``skip_trainers``.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        protect_log()  # requests are logged, and hold what clients write
        folder, source = Path(app_dir), BundleSource.of(conf)
        self.bundles = {name: provide_bundle(name, folder / "model", source) for name in BUNDLES.values()}
        weights = {name: bundle / WEIGHTS for name, bundle in self.bundles.items()}
        self.fusion = FusionTask(self.bundles[FUSION], conf)
        self.fused = FusedVolumes(self.fusion, weights[FUSION], folder / "fused")
        self.segmentation = SegmentationTask(self.bundles[SEGMENTATION], conf)
        self.chain = ChainTask(self.fused, self.segmentation)
        self.scores = ScoreFile(folder / "scores" / f"{NAME}.json", weights.values())
        super().__init__(
            app_dir,
            studies,
            conf,
            name="spinefuse",
            description="Fusion and segmentation of the spine in CT and MR",
            version=spinefuse_ext.__version__,
        )

    def init_datastore(self) -> Datastore:
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        return CaseDatastore(
            self.studies,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def _init_dicomweb_datastore(self) -> Datastore:
        store = super()._init_dicomweb_datastore()
        store.__class__ = SeriesDatastore  # MONAI Label makes the store and its client together, and gives no choice
        return store

    def _download_dcmqi_tools(self) -> None:
        """MONAI Label would fetch programs from GitHub and run them, whatever they are by then."""
        check_dcmqi(Path(self.app_dir))

    def _load_sessions(self, load: bool = False) -> Any:
        if not load:
            return None
        return CheckedSessions(settings.MONAI_LABEL_SESSION_PATH, settings.MONAI_LABEL_SESSION_EXPIRY)

    def on_init_complete(self) -> None:
        """Called while the server starts, before its first request."""
        protect_server(server)
        super().on_init_complete()

    def init_infers(self) -> dict[str, Any]:
        return {CHAIN: self.chain, FUSION: self.fusion, SEGMENTATION: self.segmentation}

    def init_trainers(self) -> dict[str, Any]:
        if str(self.conf.get("skip_trainers", "false")).lower() in ("true", "1", "yes"):
            return {}
        return {
            SEGMENTATION: SegmentationTrainTask(self.bundles[SEGMENTATION], self.conf, self.fused),
            FUSION: FusionTrainTask(self.bundles[FUSION], self.conf),
        }

    def init_strategies(self) -> dict[str, Any]:
        return {NAME: Disagreement(self.scores), "random": Random(), "first": First()}

    def init_scoring_methods(self) -> dict[str, Any]:
        return {NAME: DisagreementScoring(self.chain, self.scores)}

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> Any:
        with plain_answers():
            request = checked(request)
            found = missing_images(request, datastore or self.datastore())
            return super().infer({**request, **found}, datastore)

    def infer_wsi(self, request: dict[str, Any], datastore: Datastore | None = None) -> Any:
        with plain_answers():
            return super().infer_wsi(checked(request), datastore)

    def next_sample(self, request: dict[str, Any]) -> Any:
        with plain_answers():
            return super().next_sample(checked(request))

    def batch_infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> Any:
        request = checked(request)
        if not torch.cuda.is_available():
            request = {**request, "multi_gpu": False}  # MONAI Label 0.8.5 divides by the number of GPUs
        return self._batch_infer(copy.deepcopy(request), datastore or self.datastore(), self._infer_or_warn)

    def _infer_or_warn(self, request: dict[str, Any], datastore: Datastore | None = None) -> Any:
        """One case of a batch; bad input of it does not stop the others."""
        try:
            return self.infer(request, datastore)
        except Exception as error:
            message = plain_message(error)
            if message is None:
                raise
            logger.warning("%s is left out: %s", request.get("image"), message)
            return {}

    def train(self, request: dict[str, Any]) -> Any:
        """Train; bad input ends a process of its own with its sentence as the last line of the log."""
        request = {name: value for name, value in request.items() if name != "bundle_path"}  # the server's own word
        if server.middleware_stack is not None:  # this process is the server: a client asked to wait for the end
            with plain_answers():
                return self._train(request)
        try:
            return self._train(request)
        except Exception as error:
            message = plain_message(error)
            if message is None:
                raise
            raise SystemExit(f"spinefuse: {message}") from None

    def _train(self, request: dict[str, Any]) -> Any:
        return super().train(checked(request, str(settings.MONAI_LABEL_TRACKING_URI or "")))

    def info(self) -> Mapping[str, Any]:
        about: dict[str, Any] = super().info()
        return {**about, "labels": list(self.segmentation.labels)}
