"""An app for MONAI Label: pairs of CT and MR, the whole chain in one request, and what to label next.

Only :mod:`~spinefuse_ext.monai_label.server` and :mod:`~spinefuse_ext.monai_label.bundles` can be imported without
MONAI Label.
"""
