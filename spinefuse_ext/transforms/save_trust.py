"""Write how far each structure of a prediction can be trusted, and say which cannot."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey

from spinefuse_ext.data.writer import CaseLayout
from spinefuse_ext.files import atomic_write
from spinefuse_ext.metrics.trust import trust_scores
from spinefuse_ext.transforms.keep_spine import ISLANDS
from spinefuse_ext.validation import ConfigError, check_names, check_part

logger = logging.getLogger(__name__)


class SaveTrustd(MapTransform):
    """Write ``trust_scores`` of probabilities ``(K, *S)`` as JSON; the data stay unchanged.

    The file holds ``trust`` of the case, the mean of its structures', ``threshold``, and for each of ``structures`` its
    ``trust``, ``agreement`` and ``confidence``; ``null`` is a score that does not exist. A structure below
    ``threshold``, and one that was not found at all, is a warning in the log. Behind ``KeepSpined`` the file also holds
    ``islands``, what was dropped.

    Args:
        keys: of probabilities, one key.
        labels: names of the K classes, background first.
        folder_layout: names the file after the case; its extension is ``.json``.
        members: keys of the sub-networks' labels ``(1, *S)``; used where a case has them.
        threshold: trust below it is a warning.
        allow_missing_keys: do nothing for a case without the key.

    Raises:
        ConfigError: the threshold is not in [0, 1].
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        labels: Sequence[str],
        folder_layout: CaseLayout,
        members: Sequence[str] = (),
        threshold: float = 0.7,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ConfigError(f"Expected one key, as there is one file for a case, got {list(self.keys)}.")
        self.labels, self.folder_layout = dict(enumerate(check_names("labels", labels))), folder_layout
        self.members, self.threshold = check_names("members", members), check_part("threshold", threshold)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            members = [d[name] for name in self.members if name in d]
            scores = trust_scores(d[key], members, self.labels)
            source = str(d[key].meta.get(ImageMetaKey.FILENAME_OR_OBJ, "case"))
            path = Path(self.folder_layout.filename(source))
            self._write(path, scores, d[key].meta.get(ISLANDS))
            self._warn(path, scores)
        return d

    def _write(
        self, path: Path, scores: Mapping[str, Mapping[str, float]], islands: Mapping[str, float] | None
    ) -> None:
        known = [values["trust"] for values in scores.values() if math.isfinite(values["trust"])]
        content: dict[str, Any] = {
            "trust": sum(known) / len(known) if known else None,
            "threshold": self.threshold,
            "structures": {
                name: {score: value if math.isfinite(value) else None for score, value in values.items()}
                for name, values in scores.items()
            },
        }
        if islands is not None:
            content[ISLANDS] = dict(islands)
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")

    def _warn(self, path: Path, scores: Mapping[str, Mapping[str, float]]) -> None:
        for name, values in scores.items():
            trust = values["trust"]
            if math.isnan(trust):
                logger.warning("%s: no %s was found.", path.parent, name)
            elif math.isnan(values["confidence"]):
                logger.warning(
                    "%s: no %s was found, though a network by itself sees some (agreement %.2f); look there.",
                    *(path.parent, name, values["agreement"]),
                )
            elif trust < self.threshold:
                logger.warning(
                    "%s: the %s has a trust of %.2f (agreement %.2f, confidence %.2f), below %.2f; look at it.",
                    *(path.parent, name, trust, values["agreement"], values["confidence"], self.threshold),
                )
