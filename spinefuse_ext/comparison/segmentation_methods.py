"""What ``spinefuse compare`` trains the segmentation with: inputs, and methods to learn from unlabelled cases."""

from __future__ import annotations

from spinefuse_ext.comparison.methods import Method
from spinefuse_ext.enums import CaseKeys


def _input(*keys: CaseKeys) -> Method:
    return Method(settings={"image_keys": [str(key) for key in keys]})


#: In the order of the table: the fused image, each modality alone, both as two channels; then networks of the pair
#: that see the maximum, what a fusion network learns for the segmentation, or the images with its features.
SEGMENTATION_INPUTS: dict[str, Method] = {
    "fused": _input(CaseKeys.FUSED),
    "ct": _input(CaseKeys.CT),
    "mr": _input(CaseKeys.MR),
    "ct_mr": _input(CaseKeys.CT, CaseKeys.MR),
    "max": Method(
        deltas=("pair.json",),
        settings={
            "channels": ["fused"],
            "in_channels": 1,
            "network_def#channels#fusion": {"_target_": "spinefuse_ext.networks.MaxFusion"},
        },
    ),
    "task": Method(deltas=("task_fusion.json",), training_deltas=("task_fusion_train.json",)),
    "features": Method(deltas=("pair_features.json",)),
    "dropout": Method(deltas=("pair.json",), training_deltas=("modality_dropout.json",)),
}

#: The supervised controls: the same steps on the labelled cases, without the unlabelled ones.
SUPERVISED = ("supervised_unet", "supervised_vnet")
#: What a control reaches with the labels of the unlabelled cases; the upper end of the gap that a method can close.
ALL_LABELS = "all_labels_unet"

_RIVALS = ("ua_mt", "sassnet", "min_max_similarity", "mean_teacher", "cps", "bcp")

#: Ways to learn from few labels, in the order of the table; each is the config file of its name on the base configs.
SEMISEG_METHODS: dict[str, Method] = {
    "ours": Method(),
    **{name: Method(deltas=(f"{name}.json",)) for name in ("mcf", *SUPERVISED, *_RIVALS)},
    ALL_LABELS: Method(deltas=("supervised_unet.json",), training_deltas=("all_labels.json",), reference=True),
}
