from __future__ import annotations

import pytest
import torch
from monai.engines import IterationEvents
from monai.transforms import Compose, Flip, RandScaleIntensity, SpatialPad

from spinefuse_ext.enums import SemiSegKeys as Keys
from spinefuse_ext.handlers import CompetitivePseudoLabelHandler, CopyPasteHandler, StrongViewHandler
from spinefuse_ext.synthesis import RandFactord, RandGammad
from tests.semi_supervised import small_loader, small_trainer, watch


def test_each_unlabelled_image_is_changed_and_its_clean_view_kept() -> None:
    transform = RandScaleIntensity(factors=(0.5, 2.0), prob=1.0)
    trainer = small_trainer(train_handlers=[StrongViewHandler(Compose([transform]))])
    seen = watch(trainer, IterationEvents.FORWARD_COMPLETED, dict)
    trainer.run()
    batches = [batch["image"] for batch in small_loader(4, first=100, label=False)]
    for output, clean in zip(seen, batches, strict=True):
        torch.testing.assert_close(output[Keys.CLEAN_UNLABELLED], clean)
        factors = (output[Keys.UNLABELLED_IMAGE] / clean).flatten(1).median(1).values
        assert factors[0] != pytest.approx(factors[1])
        assert (factors > 1.4).all()
    torch.testing.assert_close(seen[0]["image"], next(iter(small_loader(2)))["image"])


def test_the_first_clean_view_is_kept_through_mixing() -> None:
    handlers = [StrongViewHandler(lambda image: image + 1), CopyPasteHandler(seed=0), CompetitivePseudoLabelHandler()]
    trainer = small_trainer(train_handlers=handlers)
    seen = watch(trainer, IterationEvents.FORWARD_COMPLETED, dict)
    trainer.run()
    clean = next(iter(small_loader(4, first=100, label=False)))["image"]
    torch.testing.assert_close(seen[0][Keys.CLEAN_UNLABELLED], clean)


def test_a_transform_that_changes_the_size_is_refused() -> None:
    with pytest.raises(ValueError, match="change intensities alone"):
        small_trainer(train_handlers=[StrongViewHandler(SpatialPad((32, 32)))]).run()


def test_supervised_training_has_no_view_to_change() -> None:
    trainer = small_trainer(unlabelled_data_loader=None, train_handlers=[StrongViewHandler(Flip(0))])
    trainer.run()
    assert trainer.state.iteration == 1


def test_all_images_are_changed_at_once_and_the_same_way_for_one_seed() -> None:
    def views(seed: int) -> torch.Tensor:
        handler = StrongViewHandler(Compose([RandGammad((0.5, 2.0)), RandFactord(0.5, 1.0)]), batched=True)
        handler.set_random_state(seed)
        trainer = small_trainer(train_handlers=[handler])
        seen = watch(trainer, IterationEvents.FORWARD_COMPLETED, dict)
        trainer.run()
        clean = next(iter(small_loader(4, first=100, label=False)))["image"]
        torch.testing.assert_close(seen[0][Keys.CLEAN_UNLABELLED], clean)
        strong: torch.Tensor = seen[0][Keys.UNLABELLED_IMAGE]
        assert not any(torch.equal(one, other) for one, other in zip(strong, clean, strict=True))
        return strong

    assert torch.equal(views(1), views(1))
    assert not torch.equal(views(1), views(2))
