from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any
from weakref import WeakSet

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose, RandLambdad, RandSpatialCropd, Transform
from monai.utils import set_determinism

from spinefuse_ext.data import make_dataset
from spinefuse_ext.enums import Cache
from spinefuse_ext.validation import ConfigError

BUNDLES = Path(__file__).parents[2] / "bundles"
caches = pytest.mark.parametrize("cache", list(Cache))


class Load(Transform):
    """Count how often a case is really loaded, and which of its volumes still exist."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.alive: WeakSet[torch.Tensor] = WeakSet()

    def __call__(self, data: dict[str, str]) -> dict[str, Any]:
        self.loaded.append(data["patient"])
        image = torch.full((1, 8, 8), float(len(self.loaded)))
        self.alive.add(image)
        return {**data, "image": image}

    def __getstate__(self) -> dict[str, Any]:
        return {}


def folder(cache: str, tmp_path: Path) -> Path | None:
    return tmp_path / "cache" if cache == Cache.DISK else None


@caches
def test_a_case_that_repeats_is_loaded_once_and_changed_anew_each_time(cache: str, tmp_path: Path) -> None:
    load = Load()
    random = RandLambdad("image", lambda image: image + torch.rand(1), prob=1.0)
    data = [{"patient": "anna"}, {"patient": "bert"}] * 3
    dataset = make_dataset(data, Compose([load, random]), cache, folder(cache, tmp_path))
    values = [float(dataset[index]["image"].mean()) for index in range(len(data)) for _ in range(2)]
    assert len(dataset) == 6
    times = 6 if cache == Cache.NONE else 1
    assert sorted(load.loaded) == ["anna"] * times + ["bert"] * times
    assert len(set(values)) == 12
    assert (tmp_path / "cache").exists() == (cache == Cache.DISK)


@pytest.mark.parametrize(
    ("cache", "cache_dir", "message"),
    [
        pytest.param("disc", None, "no cache 'disc'; choose one of none, memory, disk", id="unknown"),
        pytest.param("disk", None, "'disk' needs a folder; give cache_dir", id="no-folder"),
        pytest.param("memory", "files", "'memory' writes no files into cache_dir files; set", id="both"),
        pytest.param("none", "files", "'none' writes no files", id="none-with-folder"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(cache: str, cache_dir: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_dataset([{"patient": "anna"}], Load(), cache, cache_dir)


@pytest.mark.parametrize("cache", [Cache.NONE, Cache.DISK])
def test_volumes_do_not_stay_in_memory_while_their_crops_are_in_use(cache: str, tmp_path: Path) -> None:
    load = Load()
    data = [{"patient": str(number)} for number in range(50)]
    transform = Compose([load, RandSpatialCropd("image", (2, 2), random_size=False)])
    dataset = make_dataset(data, transform, cache, folder(cache, tmp_path))
    crops = [dataset[index]["image"] for _ in range(2) for index in range(50)]
    assert len(crops) == 100
    assert len(load.alive) <= 1
    maps = Path("/proc/self/maps")
    if maps.is_file():  # files of the cache that are still mapped into memory
        assert maps.read_text().count(str(tmp_path)) <= 1


def write_cases(path: Path, keys: list[str]) -> None:
    """A labelled, an unlabelled and a validation case of 4 x 40 x 40 voxels."""
    rng = np.random.default_rng(0)
    sections: dict[str, list[dict[str, str]]] = {"labelled": [], "unlabelled": [], "validation": []}
    for patient, section in (("anna", "labelled"), ("bert", "unlabelled"), ("carl", "validation")):
        item = {"patient": patient}
        for key in keys:
            voxels = rng.integers(0, 4, (4, 40, 40)) * (1 if key == "label" else 400) - (500 if key == "ct" else 0)
            nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), np.eye(4)), path / f"{patient}_{key}.nii.gz")
            item[key] = f"{patient}_{key}.nii.gz"
        sections[section].append(item)
    (path / "datalist.json").write_text(json.dumps(sections), encoding="utf-8")


def same(one: Any, other: Any) -> bool:
    """Whether two cases hold the same numbers and metadata."""
    for key in one:
        if not torch.equal(torch.as_tensor(one[key]), torch.as_tensor(other[key])):
            return False
        if isinstance(one[key], MetaTensor) and one[key].applied_operations != other[key].applied_operations:
            return False
    return list(one) == list(other)


@pytest.mark.parametrize(
    ("bundle", "dataset", "keys"),
    [
        pytest.param("spine_fusion", "dataset", ["ct", "mr"], id="fusion"),
        pytest.param("spine_semiseg", "dataset", ["fused", "label"], id="labelled"),
        pytest.param("spine_semiseg", "unlabelled_dataset", ["fused", "label"], id="unlabelled"),
    ],
)
def test_training_sees_the_same_crops_under_every_cache_and_changes_none_of_it(
    bundle: str, dataset: str, keys: list[str], tmp_path: Path
) -> None:
    write_cases(tmp_path, keys)
    drawn = []
    for cache in (*Cache, Cache.DISK):  # the second time from its files
        parser = ConfigParser(ConfigParser.load_config_file(BUNDLES / bundle / "configs" / "train.json"))
        parser.update({"dataset_dir": str(tmp_path), "output_dir": str(tmp_path), "cache": str(cache)})
        parser.update({"canvas": [32, 32], "patch_size": [32, 32], "crops_per_case": 4})
        set_determinism(0)
        made = parser.get_parsed_content(f"train#{dataset}")
        before = deepcopy(made._cache) if cache == Cache.MEMORY else []
        drawn.append([made[index]["image"] for index in range(len(made))])
        assert all(same(*pair) for pair in zip(before, made._cache, strict=True)) if before else cache != Cache.MEMORY
    set_determinism(None)
    assert (tmp_path / "cache").is_dir()
    assert len({float(crop.sum()) for crop in drawn[0]}) > 1
    for others in drawn[1:]:
        for crop, other in zip(drawn[0], others, strict=True):
            torch.testing.assert_close(crop, other, rtol=0, atol=0)
            assert type(crop) is torch.Tensor
