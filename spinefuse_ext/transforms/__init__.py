"""Transforms that MONAI lacks."""

from spinefuse_ext.packages import installed, names_without
from spinefuse_ext.transforms.fill_absent import FillAbsentd
from spinefuse_ext.transforms.find_images import FindImagesd
from spinefuse_ext.transforms.ignore_voxels import IgnoreVoxelsd
from spinefuse_ext.transforms.keep_spine import KeepSpined
from spinefuse_ext.transforms.misplace import Misplaced
from spinefuse_ext.transforms.network_maps import ContributionMapd, FeatureMapsd
from spinefuse_ext.transforms.patch import RandPatchd
from spinefuse_ext.transforms.read_label import ReadLabeld
from spinefuse_ext.transforms.read_volume import ReadVolumed
from spinefuse_ext.transforms.register_pair import RegisterPaird
from spinefuse_ext.transforms.resample_to_grid import ResampleToGridd
from spinefuse_ext.transforms.save_fused import SaveFusedd
from spinefuse_ext.transforms.save_fused_series import SaveFusedSeriesd
from spinefuse_ext.transforms.save_seg import SaveSegd
from spinefuse_ext.transforms.save_trust import SaveTrustd
from spinefuse_ext.transforms.scale_by_modality import ScaleByModalityd
from spinefuse_ext.transforms.slices import scaled_sizes, slice_shape
from spinefuse_ext.transforms.sub_networks import SplitSubNetworksd

_NEEDED = ("matplotlib", "scipy", "skimage")
if installed(*_NEEDED):
    from spinefuse_ext.transforms.overlay import SaveOverlayd

__all__ = [
    "ContributionMapd",
    "FeatureMapsd",
    "FillAbsentd",
    "FindImagesd",
    "IgnoreVoxelsd",
    "KeepSpined",
    "Misplaced",
    "RandPatchd",
    "ReadLabeld",
    "ReadVolumed",
    "RegisterPaird",
    "ResampleToGridd",
    "SaveFusedSeriesd",
    "SaveFusedd",
    "SaveOverlayd",
    "SaveSegd",
    "SaveTrustd",
    "ScaleByModalityd",
    "SplitSubNetworksd",
    "scaled_sizes",
    "slice_shape",
]

if not installed(*_NEEDED):
    __getattr__ = names_without(__name__, ["SaveOverlayd"], *_NEEDED)
