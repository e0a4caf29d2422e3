"""Spine CT and MR together: networks, losses, engines and tools behind the spinefuse MONAI bundles."""

__version__ = "0.1.0"
