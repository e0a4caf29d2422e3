"""What every process needs, loaded once in the server that they are forked from; import this module for nothing else.

ITK loads its classes when they are first asked for, so the ones that registration asks for are named here. No filter
may run here: ITK would start threads, which a fork loses.
"""

import logging

import itk

logging.getLogger("monai").setLevel(logging.ERROR)

import spinefuse_ext.cohort.case
import spinefuse_ext.report.cohort_strip  # noqa: F401

itk.resample_image_filter  # noqa: B018
itk.transformwrite  # noqa: B018
itk.transformread  # noqa: B018
itk.Image[itk.Vector[itk.D, 3], 3]
itk.DisplacementFieldTransform[itk.D, 3]
itk.MultiThreaderBase  # noqa: B018
