"""Networks: fusion and segmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinefuse_ext.networks.allocator import keep_freed_memory
from spinefuse_ext.networks.blend import BlendFusionNet
from spinefuse_ext.networks.classical import LaplacianPyramidFusion, MaxFusion, MeanFusion, SingleModality
from spinefuse_ext.networks.contribution import modality_contribution
from spinefuse_ext.networks.detail import CouplingDetailEncoder, DetailEncoder
from spinefuse_ext.networks.device import to_device, unwrap
from spinefuse_ext.networks.dual_seg_net import DualSegNet, SingleSegNet
from spinefuse_ext.networks.fusion_net import PairFeatures, SpineFusionNet
from spinefuse_ext.networks.guided import GuidedFilterFusion, guided_filter
from spinefuse_ext.networks.imagewise import ImagewiseSegNet
from spinefuse_ext.networks.inference import window_inferer
from spinefuse_ext.networks.lite_transformer import DenseRestormerBlock, LiteTransformerBlock
from spinefuse_ext.networks.mean_teacher import MeanTeacherNet
from spinefuse_ext.networks.min_max_similarity import MinMaxSimilarityNet
from spinefuse_ext.networks.pair_channels import PairChannels
from spinefuse_ext.networks.pair_seg_net import PairSegNet
from spinefuse_ext.networks.plane_inferer import PlanesInferer, planes_of
from spinefuse_ext.networks.planes import SeenPlanes
from spinefuse_ext.networks.restormer import RestormerBlock
from spinefuse_ext.networks.selection import SelectionFusionNet
from spinefuse_ext.networks.shape_seg_net import ShapeDiscriminator, ShapeSegNet
from spinefuse_ext.networks.sub_networks import EachSubNetwork, each_sub_network
from spinefuse_ext.networks.u2fusion import U2FusionNet
from spinefuse_ext.networks.unloaded import check_loaded, start_from
from spinefuse_ext.networks.vnet import VNet
from spinefuse_ext.networks.wavelet import WaveletFusion
from spinefuse_ext.networks.weights import load_weights
from spinefuse_ext.networks.without_mr import CopyWithoutMRInferer, copy_without_mr
from spinefuse_ext.renamed import renamed

__all__ = [
    "BlendFusionNet",
    "CopyWithoutMRInferer",
    "CouplingDetailEncoder",
    "DenseRestormerBlock",
    "DetailEncoder",
    "DualSegNet",
    "EachSubNetwork",
    "GuidedFilterFusion",
    "ImagewiseSegNet",
    "LaplacianPyramidFusion",
    "LiteTransformerBlock",
    "MaxFusion",
    "MeanFusion",
    "MeanTeacherNet",
    "MinMaxSimilarityNet",
    "PairChannels",
    "PairFeatures",
    "PairSegNet",
    "PlanesInferer",
    "RestormerBlock",
    "SeenPlanes",
    "SelectionFusionNet",
    "ShapeDiscriminator",
    "ShapeSegNet",
    "SingleModality",
    "SingleSegNet",
    "SpineFusionNet",
    "U2FusionNet",
    "VNet",
    "WaveletFusion",
    "check_loaded",
    "copy_without_mr",
    "each_sub_network",
    "guided_filter",
    "keep_freed_memory",
    "load_weights",
    "modality_contribution",
    "planes_of",
    "start_from",
    "to_device",
    "unwrap",
    "window_inferer",
]

if not TYPE_CHECKING:
    __getattr__ = renamed(__name__, {"place": "spinefuse_ext.networks.to_device"})
