"""What to label next: the case on which UNet and VNet disagree most."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

from spinefuse_ext.files import atomic_write
from spinefuse_ext.monai_label.cases import each_case
from spinefuse_ext.monai_label.requests import checked

logger = logging.getLogger(__name__)

NAME = "disagreement"


def _offered(info: Mapping[str, Any], strategy: str) -> float:
    """When an image was offered last; clients may write into what is known of an image."""
    offers = info.get("strategy")
    offer = offers.get(strategy) if isinstance(offers, Mapping) else None
    time = offer.get("ts", 0) if isinstance(offer, Mapping) else 0
    return float(time) if isinstance(time, (int, float)) else 0.0


class ScoreFile:
    """Scores of images, with the state of the weights that they were made with.

    Args:
        path: of the file, JSON.
        weights: files whose change makes a score outdated.
    """

    def __init__(self, path: Path, weights: Iterable[Path]) -> None:
        self.path, self.weights = path, tuple(weights)

    def state(self) -> str:
        """A text that changes with the weights."""
        about = [path.stat() for path in self.weights]
        return " ".join(f"{one.st_mtime_ns}:{one.st_size}" for one in about)

    def read(self) -> dict[str, dict[str, Any]]:
        """Image id -> ``score`` and ``state``; nothing where no score was made yet."""
        try:
            content: dict[str, dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content

    def write(self, scores: Mapping[str, Mapping[str, Any]]) -> None:
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps(scores, indent=1), encoding="utf-8")


class DisagreementScoring(ScoringMethod):
    """Score every unlabelled image by the part of its structures on which the two networks differ, in [0, 1].

    Images that were scored with the weights of now are not looked at again. An image that cannot be scored, for it has
    no MR for example, is a warning.

    Args:
        segment: takes a request, returns a file and a dictionary with ``disagreement``.
        scores: where scores are kept.
    """

    def __init__(self, segment: Callable[[dict[str, Any]], tuple[Any, dict[str, Any]]], scores: ScoreFile) -> None:
        super().__init__("Part of the structures on which UNet and VNet disagree, for unlabelled images")
        self.segment, self.scores = segment, scores

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, float]:
        request = checked(request)
        state, known = self.scores.state(), self.scores.read()
        images = datastore.get_unlabeled_images()
        due = [image for image in sorted(images) if known.get(image, {}).get("state") != state]
        made: dict[str, float] = {}

        def score(case: dict[str, Any]) -> float:
            options = {"device": request["device"]} if request.get("device") else {}
            file, result = self.segment({**options, **case})
            Path(file).unlink(missing_ok=True)
            return float(result["disagreement"])

        for image in due:  # written one by one: a scoring that is stopped has not worked for nothing
            made |= each_case([image], datastore, score)
            if image in made:
                known[image] = {"score": made[image], "state": state}
                self.scores.write({name: known[name] for name in known if name in images})
        logger.info("Scored %d of %d unlabelled images.", len(made), len(images))
        return made


class Disagreement(Strategy):
    """Offer the unlabelled image with the highest disagreement that was not offered yet.

    Scores of the weights of now come before outdated ones. When all were offered, it is the one whose offer is longest
    ago. Images without a score, which may have no MR, come last; before the first scoring that is all of them, by name.
    """

    def __init__(self, scores: ScoreFile) -> None:
        super().__init__("The case on which UNet and VNet disagree most")
        self.scores = scores

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        request = checked(request)
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        if not images:
            return None
        known, state = self.scores.read(), self.scores.state()

        def rank(image: str) -> tuple[bool, float, bool, float, str]:
            score = known.get(image, {})
            return (
                not score,
                _offered(datastore.get_image_info(image), request.get("strategy", NAME)),
                score.get("state") != state,
                -score.get("score", 0.0),
                image,
            )

        image = min(images, key=rank)
        score = known.get(image, {})
        return {
            "id": image,
            "disagreement": score.get("score"),
            "outdated": bool(score) and score["state"] != state,
        }
