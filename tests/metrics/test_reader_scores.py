"""Scores that an image which copies or hides one scan cannot win."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spinefuse_ext.metrics import (
    READER_SCORES,
    RECOVERY_SCORES,
    FusionMetric,
    SourceRecovery,
    bone_order,
    ct_visibility,
    false_edges,
    mr_visibility,
    recovery_scores,
    tissue_separability,
    visibility,
    worst_and_mean,
)
from spinefuse_ext.validation import ConfigError

Rule = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SIZE = 64
ROW, COLUMN = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")


def pattern(rng: np.random.Generator, *shape: int, sigma_px: int = 3) -> torch.Tensor:
    """Whole levels 0 to 255 of a smooth random pattern ``(1, 1, *shape)``."""
    image = torch.from_numpy(rng.random((1, 1, *shape)))
    for axis, step in itertools.product(range(2, image.ndim), range(sigma_px)):
        image = image + image.roll(step + 1, axis)
    return ((image - image.min()) / (image.max() - image.min()) * 255).round()


def patient(seed: int, *shape: int) -> torch.Tensor:
    """A pair ``(1, 2, *shape)``: CT with a few white bones in grey, an MR pattern that knows nothing of them."""
    rng = np.random.default_rng(seed)
    shape = shape or (SIZE, SIZE)
    bone = pattern(rng, *shape, sigma_px=4) > 185
    return torch.cat((torch.where(bone, 250.0, 40.0), 10 + (pattern(rng, *shape) * 0.85).round()), dim=1)


def noise(ct: torch.Tensor, mr: torch.Tensor) -> torch.Tensor:
    return torch.randint(0, 256, ct.shape, generator=torch.Generator().manual_seed(1)).to(ct)


def side_by_side(ct: torch.Tensor, mr: torch.Tensor) -> torch.Tensor:
    return torch.cat((ct[..., ::2], mr[..., ::2]), dim=-1)


RULES: dict[str, Rule] = {
    "max": torch.maximum,
    "mean": lambda ct, mr: ((ct + mr) / 2).round(),
    "ct": lambda ct, mr: ct,
    "mr": lambda ct, mr: mr,
}
#: What shows neither scan, or only one of them in a form that a reader can see.
CHEATS: dict[str, Rule] = {
    "constant": lambda ct, mr: torch.full_like(ct, 90),
    "noise": noise,
    "side by side": side_by_side,
    "mean, 6 px away": lambda ct, mr: ((ct + mr) / 2).round().roll(6, -1),
    "MR in the low 3 bits": lambda ct, mr: ct // 8 * 8 + mr // 32,
    "CT in the low 3 bits": lambda ct, mr: mr // 8 * 8 + ct // 32,
    "MR at a 64th": lambda ct, mr: (0.98 * ct + mr / 64).round(),
    "MR at a 64th, every second pixel": lambda ct, mr: (0.98 * ct + mr / 64 * ((ROW + COLUMN) % 2)).round(),
    "CT flipped": lambda ct, mr: ct.flip(-1),
}
#: Codes of both scans by place, which a viewer blends.
INTERLEAVED: dict[str, Rule] = {
    "checkerboard": lambda ct, mr: torch.where((ROW + COLUMN) % 2 == 0, ct, mr),
    "every second column": lambda ct, mr: torch.where(COLUMN % 2 == 0, ct, mr),
}


def fused_by(rule: Rule, pair: torch.Tensor) -> torch.Tensor:
    return rule(pair[:, :1], pair[:, 1:])


@lru_cache
def recovery_of(rule: Rule, patients: int = 5) -> SourceRecovery:
    recovery = SourceRecovery()
    for seed in range(patients):
        recovery.fit(fused_by(rule, patient(seed)), patient(seed), 255)
    return recovery


@lru_cache
def recovered(rule: Rule) -> torch.Tensor:
    """R2 of CT and MR of another patient: ``(2,)``."""
    return recovery_of(rule).r2(fused_by(rule, patient(99)), patient(99), 255)[0]


def one(score: torch.Tensor) -> float:
    assert score.shape == (1,)
    return float(score.item())


def pair_of(ct: torch.Tensor, mr: torch.Tensor) -> torch.Tensor:
    return torch.cat((ct, mr), dim=1)


def step_of(height: float, base: float = 100.0, axis: int = -1) -> torch.Tensor:
    """A step of a height through the middle of ``(1, 1, 20, 20)``."""
    image = torch.full((1, 1, 20, 20), base)
    image.narrow(axis, 10, 10).add_(height)
    return image


# recoverability


def test_a_copy_gives_back_one_scan_and_not_the_other() -> None:
    for name, copied in (("ct", 0), ("mr", 1)):
        shares = recovered(RULES[name])
        assert shares[copied] > 0.8
        assert shares[1 - copied] < 0.1


def test_a_fusion_gives_back_more_of_the_worse_scan_than_either_copy() -> None:
    least = {name: recovered(rule).min().item() for name, rule in RULES.items()}
    assert min(least["max"], least["mean"]) > max(least["ct"], least["mr"]) + 0.3


@pytest.mark.parametrize("name", CHEATS)
def test_what_is_hidden_from_a_reader_is_not_recovered(name: str) -> None:
    copies = max(recovered(RULES[name]).min().item() for name in ("ct", "mr"))
    assert recovered(CHEATS[name]).min() < copies + 0.1


@pytest.mark.parametrize("name", INTERLEAVED)
def test_pixels_taken_in_turns_give_back_no_more_than_their_mean(name: str) -> None:
    assert recovered(INTERLEAVED[name]).min() < recovered(RULES["mean"]).min() + 0.05


def test_what_is_seen_of_an_image_does_not_depend_on_levels_below_8_bit() -> None:
    recovery, pair = recovery_of(RULES["max"]), patient(99)
    fused = fused_by(RULES["max"], pair)
    hidden = fused + 0.4 * pair[:, 1:] / 255
    torch.testing.assert_close(recovery.r2(hidden, pair, 255), recovery.r2(fused, pair, 255))


def test_recovered_images_lie_in_the_range_and_near_the_sources() -> None:
    pair = patient(99)
    told = recovery_of(RULES["max"]).recover(fused_by(RULES["max"], pair) / 255)
    assert told.shape == pair.shape
    assert told.min() >= 0
    assert told.max() <= 1
    assert (told[:, 0] - pair[:, 0] / 255).abs().mean() < 0.1


def test_fitting_piece_by_piece_is_fitting_all_at_once() -> None:
    pairs = torch.cat([patient(seed) for seed in range(3)])
    fused = pairs.amax(1, keepdim=True)
    whole = SourceRecovery().fit(fused, pairs, 255)
    parts = SourceRecovery().fit(fused[:1], pairs[:1], 255).fit(fused[1:] / 255, pairs[1:] / 255)
    assert parts.fitted_px == whole.fitted_px == 3 * (SIZE // 2) ** 2
    torch.testing.assert_close(parts.r2(fused, pairs, 255), whole.r2(fused, pairs, 255))


def test_air_masked_pixels_and_images_that_are_not_finite_are_not_fitted() -> None:
    pair = patient(0)
    pair[..., :10] = 5  # below 5 % of the range in both scans
    fused = pair.amax(1, keepdim=True)
    mask = torch.ones_like(fused)
    mask[..., 40:] = 0
    assert SourceRecovery().fit(fused, pair, 255, mask).fitted_px == SIZE // 2 * 15
    assert SourceRecovery().fit(fused * math.nan, pair, 255).fitted_px == 0


def test_a_recovery_that_was_not_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="fitted to images of other patients"):
        SourceRecovery().r2(patient(0)[:, :1], patient(0), 255)


def test_a_constant_source_has_nothing_to_recover() -> None:
    pair = patient(99)
    pair[:, 0] = 100
    shares = recovery_of(RULES["max"]).r2(pair[:, 1:], pair, 255)[0]
    assert math.isnan(shares[0])
    assert shares[1] > 0


def test_a_recovery_is_a_score_in_a_metric() -> None:
    pair = patient(99)
    fused = fused_by(RULES["max"], pair)
    recovery = recovery_of(RULES["max"])
    shares = recovery.r2(fused, pair, 255)[0]
    expected = {"recoverability": shares.min(), "ct_recoverability": shares[0], "mr_recoverability": shares[1]}
    for name, score in recovery_scores(recovery).items():
        assert float(torch.as_tensor(FusionMetric(score)(fused / 255, pair / 255))) == pytest.approx(expected[name])


def test_volumes_are_fitted_and_recovered() -> None:
    pair = patient(3, 20, 24, 22)
    shares = SourceRecovery().fit(pair[:, :1], pair, 255).r2(pair[:, :1], pair, 255)
    assert shares[0, 0] > 0.8


# visibility


@pytest.mark.parametrize(("height", "least", "most"), [(4, 0, 0), (6, 0.3, 0.9), (-6, 0.3, 0.9), (80, 1, 1)])
def test_an_edge_is_seen_from_a_step_of_two_percent_on(height: float, least: float, most: float) -> None:
    # windows beside the edge show less of it, so a faint one is seen in the middle only
    sources = pair_of(step_of(60), step_of(60, axis=-2))
    assert least <= one(ct_visibility(step_of(height), sources, 255)) <= most
    assert least <= one(mr_visibility(step_of(height, axis=-2), sources, 255)) <= most
    assert one(ct_visibility(step_of(height, axis=-2), sources, 255)) < 0.5


def test_each_edge_counts_by_its_strength() -> None:
    ct = torch.full((1, 1, 20, 60), 50.0)
    ct[..., 20:] += 120  # a strong and a weak edge, far apart
    ct[..., 40:] += 40
    strong, weak = ct.clone(), ct.clone()
    strong[..., 40:], weak[..., :20] = 170, 170
    sources = ct.expand(-1, 2, -1, -1)
    shares = [one(ct_visibility(image, sources, 255)) for image in (strong, weak)]
    assert shares == [pytest.approx(0.75, abs=0.04), pytest.approx(0.25, abs=0.04)]
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("name", [*CHEATS, *INTERLEAVED, "ct", "mr"])
def test_copies_and_codes_leave_the_edges_of_one_scan_unseen(name: str) -> None:
    pair = patient(99)
    rules = {**RULES, **CHEATS, **INTERLEAVED}
    mean = one(visibility(fused_by(RULES["mean"], pair), pair, 255))
    assert mean > 0.6
    assert one(visibility(fused_by(rules[name], pair), pair, 255)) < 0.65 * mean


def test_noise_a_pattern_and_a_shift_make_false_edges_and_mixtures_none() -> None:
    pair = patient(99)
    for name in ("noise", "side by side", "mean, 6 px away"):
        assert one(false_edges(fused_by(CHEATS[name], pair), pair, 255)) > 0.6
    assert one(false_edges(fused_by(INTERLEAVED["checkerboard"], pair), pair, 255)) > 0.6
    for name in ("mean", "ct", "mr"):
        assert one(false_edges(fused_by(RULES[name], pair), pair, 255)) < 0.01


def test_an_edge_too_faint_to_be_seen_in_the_sources_is_false_when_it_is_raised() -> None:
    sources = pair_of(step_of(1), torch.full((1, 1, 20, 20), 80.0))
    assert one(false_edges(step_of(100), sources, 255)) == 1
    assert one(false_edges(step_of(100), pair_of(step_of(50), step_of(0)), 255)) == 0


def test_without_an_edge_nothing_can_be_seen_or_false() -> None:
    flat = torch.full((1, 1, 20, 20), 80.0)
    assert math.isnan(one(false_edges(flat, pair_of(step_of(60), flat), 255)))
    assert math.isnan(one(mr_visibility(step_of(60), pair_of(step_of(60), flat), 255)))
    assert one(ct_visibility(flat, pair_of(step_of(60), flat), 255)) == 0


# order


def test_bone_is_in_order_when_it_is_brighter_than_what_is_around_it() -> None:
    ct = torch.full((1, 1, 30, 30), 40.0)
    ct[..., 10:16, 10:16] = 220
    pair = pair_of(ct, torch.full_like(ct, 150))
    for inside, outside, expected in ((200, 100, 1), (100, 200, 0), (150, 146, 0), (150, 144, 1)):
        fused = torch.where(ct > 100, inside, outside).double()
        assert one(bone_order(fused, pair, 255)) == expected
    assert math.isnan(one(bone_order(ct, pair * 0.3, 255)))


def test_bone_begins_where_the_metric_is_told() -> None:
    pair = patient(99)
    told = FusionMetric("bone_order", bone_level=0.999)(pair[:, :1] / 255, pair / 255)
    assert math.isnan(float(torch.as_tensor(told)))


def literal_separability(first: np.ndarray, second: np.ndarray) -> float:
    """Over all pairs of voxels the chance that the first is seen as the brighter one."""
    apart = (first[:, None] - second[None]) / (math.sqrt(2) * 0.02 * 255)
    seen = [[0.5 * (1 + math.erf(value / math.sqrt(2))) for value in row] for row in apart]
    return abs(2 * float(np.mean(seen)) - 1)


def test_separability_is_the_area_under_the_curve_with_the_noise_of_seeing(rng: np.random.Generator) -> None:
    grey = torch.from_numpy(rng.integers(0, 256, (2, 1, 6, 7))).double()
    tissue = torch.from_numpy(rng.integers(0, 4, (2, 1, 6, 7)))
    pairs = tissue_separability(grey, tissue, {1: "disc", 2: "cord", 3: "fat"}, 255)
    assert list(pairs) == [("disc", "cord"), ("disc", "fat"), ("cord", "fat")]
    for item in range(2):
        disc, fat = (grey[item, 0][tissue[item, 0] == number].numpy() for number in (1, 3))
        assert pairs["disc", "fat"][item].item() == pytest.approx(literal_separability(disc, fat))
    worst, mean = worst_and_mean(pairs)
    torch.testing.assert_close(worst, torch.stack(list(pairs.values())).amin(0))
    torch.testing.assert_close(mean, torch.stack(list(pairs.values())).mean(0))


@pytest.mark.parametrize(("apart", "low", "high"), [(0, 0, 1e-9), (1, 0, 0.15), (-5, 0.4, 0.6), (60, 0.999, 1)])
def test_tissues_that_differ_by_less_than_can_be_seen_are_not_apart(apart: int, low: float, high: float) -> None:
    tissue = torch.arange(100).reshape(1, 1, 10, 10) % 2
    pairs = tissue_separability(100.0 + apart * tissue, tissue, {0: "muscle", 1: "disc"}, 255)
    assert low <= one(pairs["muscle", "disc"]) <= high


def test_a_tissue_that_is_not_there_is_left_out() -> None:
    tissue = torch.arange(100).reshape(1, 1, 10, 10) % 2
    pairs = tissue_separability(100.0 + 60 * tissue, tissue, {0: "muscle", 1: "disc", 2: "cord"}, 255)
    assert math.isnan(one(pairs["muscle", "cord"]))
    assert [one(value) for value in worst_and_mean(pairs)] == [pytest.approx(1, abs=1e-3)] * 2
    with pytest.raises(ConfigError, match="two classes or more, got 1"):
        tissue_separability(tissue.double(), tissue, {1: "disc"}, 255)
    with pytest.raises(ValueError, match=r"Expected tissue \(1, 1, 10, 10\)"):
        tissue_separability(tissue.double(), tissue[..., :5], {0: "muscle", 1: "disc"}, 255)


# what all of them keep to

SCORES = {**READER_SCORES, **recovery_scores(recovery_of(RULES["max"], patients=2))}


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    pairs = torch.cat([patient(seed) for seed in (50, 51)])
    return (0.7 * pairs[:, :1] + 0.3 * pairs[:, 1:]).round(), pairs


@pytest.mark.parametrize("name", SCORES)
def test_a_batch_scores_as_its_items_do_in_any_range(name: str) -> None:
    fused, pairs = batch()
    together = SCORES[name](fused, pairs, data_range=255)
    single = [SCORES[name](f / 255, p / 255) for f, p in zip(fused.split(1), pairs.split(1), strict=True)]
    torch.testing.assert_close(together, torch.cat(single))
    assert torch.isfinite(together).all()


@pytest.mark.parametrize("name", SCORES)
def test_masks_and_values_that_are_not_finite(name: str) -> None:
    fused, pairs = batch()
    score = SCORES[name]
    clean = score(fused, pairs, 255)
    torch.testing.assert_close(score(fused, pairs, 255, mask=torch.ones_like(fused)), clean)
    assert score(fused, pairs, 255, mask=torch.zeros_like(fused)).isnan().all()
    fused[0, 0, 3, 4] = math.nan
    spoilt = score(fused, pairs, 255)
    assert math.isnan(spoilt[0])
    assert spoilt[1] == clean[1]


@pytest.mark.parametrize("name", SCORES)
def test_bad_requests_are_refused(name: str) -> None:
    fused, pairs = batch()
    with pytest.raises(ValueError, match="paper prints no formula"):
        SCORES[name](fused, pairs, 255, "paper")
    with pytest.raises(ValueError, match="Expected sources"):
        SCORES[name](fused, None, 255)


@pytest.mark.parametrize("name", READER_SCORES)
def test_volumes_are_scored_as_a_whole_and_by_name(name: str) -> None:
    pair = patient(5, 14, 15, 16)
    assert torch.isfinite(READER_SCORES[name](pair.amax(1, keepdim=True), pair, 255)).all()
    assert torch.isfinite(torch.as_tensor(FusionMetric(name)(pair.amax(1, keepdim=True) / 255, pair / 255))).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.3, 0.7))
def test_shares_stay_in_their_range_and_mixtures_have_no_false_edge(seed: int, share: float) -> None:
    pair = patient(seed)
    mixed = share * pair[:, :1] + (1 - share) * pair[:, 1:]
    scores = {name: one(score(mixed, pair, 255)) for name, score in READER_SCORES.items()}
    assert all(0 <= value <= 1 for value in scores.values())
    assert scores["false_edges"] < 0.02
    assert scores["visibility"] == min(scores["ct_visibility"], scores["mr_visibility"])


def test_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 9 pixels along each axis"):
        visibility(torch.rand(1, 1, 8, 20), torch.rand(1, 2, 8, 20))


def test_the_names_are_those_of_the_functions() -> None:
    assert set(RECOVERY_SCORES) == {"recoverability", "ct_recoverability", "mr_recoverability"}
    assert set(READER_SCORES) == {"visibility", "ct_visibility", "mr_visibility", "false_edges", "bone_order"}
