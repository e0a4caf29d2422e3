from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose, Invertd, Orientationd

from spinefuse_ext.data.collate import collate_cases


def case(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    affine = torch.diag(torch.tensor([-1.0, 2.0, 1.5, 1.0]))
    image = MetaTensor(torch.rand(2, 5, 6, 7), affine=affine, meta={"filename_or_obj": f"{seed}.nii"})
    return {"ct": image, "patient": str(seed), "number": seed, "plain": torch.rand(3)}


def test_a_batch_of_one_is_that_of_monai_without_a_copy() -> None:
    given = case(0)
    batch, expected = collate_cases([given]), list_data_collate([given])
    assert batch["ct"].data_ptr() == given["ct"].data_ptr()
    assert set(batch) == set(expected)
    assert type(batch["ct"]) is MetaTensor
    torch.testing.assert_close(batch["ct"].as_tensor(), expected["ct"].as_tensor())
    torch.testing.assert_close(batch["ct"].affine, expected["ct"].affine)
    assert batch["ct"].meta["filename_or_obj"] == expected["ct"].meta["filename_or_obj"]
    assert batch["patient"] == expected["patient"]
    torch.testing.assert_close(batch["number"], expected["number"])
    torch.testing.assert_close(batch["plain"], expected["plain"])


def test_several_cases_are_stacked() -> None:
    cases = [case(0), case(1)]
    torch.testing.assert_close(collate_cases(cases)["ct"].as_tensor(), torch.stack([each["ct"] for each in cases]))


def test_transforms_of_a_case_can_be_undone_after_the_batch() -> None:
    turn = Compose([Orientationd("ct", axcodes="RAS", labels=None)])
    given = case(0)
    (single,) = decollate_batch(collate_cases([turn(dict(given))]))
    undone = Invertd("pred", turn, orig_keys="ct", nearest_interp=False)({**single, "pred": single["ct"].clone()})
    torch.testing.assert_close(undone["pred"].as_tensor(), given["ct"].as_tensor())
    torch.testing.assert_close(undone["pred"].affine, given["ct"].affine)
