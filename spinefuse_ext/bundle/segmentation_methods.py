"""What ``spinefuse compare inputs`` gives the segmentation to see."""

from __future__ import annotations

from spinefuse_ext.bundle.methods import Method
from spinefuse_ext.enums import CaseKeys


def _input(*keys: CaseKeys) -> Method:
    return Method(settings={"image_keys": [str(key) for key in keys]})


#: In the order of the table: the fused image, each modality alone, and both as two channels.
SEGMENTATION_INPUTS: dict[str, Method] = {
    "fused": _input(CaseKeys.FUSED),
    "ct": _input(CaseKeys.CT),
    "mr": _input(CaseKeys.MR),
    "ct_mr": _input(CaseKeys.CT, CaseKeys.MR),
}
