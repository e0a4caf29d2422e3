"""What the processes of a cohort need, loaded once in the server that they are forked from.

Import this module for nothing else. It lies beside the packages because those import MONAI before anything can be said.
"""

from spinefuse_ext.console import quieten_libraries


def _load() -> None:
    """Import all; ITK loads its classes when they are first asked for, so those of registration are asked for here.

    No filter may run: ITK would start threads, which a fork loses.
    """
    quieten_libraries()
    import itk

    import spinefuse_ext.cohort.case  # noqa: F401

    for name in ("resample_image_filter", "transformwrite", "transformread", "MultiThreaderBase"):
        getattr(itk, name)
    _ = itk.Image[itk.Vector[itk.D, 3], 3], itk.DisplacementFieldTransform[itk.D, 3]


_load()
