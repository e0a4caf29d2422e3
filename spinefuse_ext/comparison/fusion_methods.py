"""The fusion methods that ``spinefuse compare fusion`` knows."""

from __future__ import annotations

from spinefuse_ext.comparison.methods import Method

#: In the order of the table; a further method is one line here and its delta in the bundle.
FUSION_METHODS: dict[str, Method] = {
    "ours": Method(),
    "blend": Method(("blend.json",), ("blend_train.json",)),
    "selection": Method(("selection.json",), ("selection_train.json",)),
    "u2fusion": Method(("u2fusion.json",), ("u2fusion_train.json",)),
    "cddfuse": Method(("cddfuse.json",), ("cddfuse_train.json",)),
    "mean": Method(("mean.json",), trains=False),
    "max": Method(("max.json",), trains=False),
    "laplacian": Method(("laplacian.json",), trains=False),
    "wavelet": Method(("wavelet.json",), trains=False),
    "guided": Method(("guided.json",), trains=False),
    "ct": Method(("ct.json",), trains=False, reference=True),
    "mr": Method(("mr.json",), trains=False, reference=True),
}
