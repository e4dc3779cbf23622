"""The families that work: which stock config was tried, and what can be tapped there.

``test_families.py`` trains each for one step; ``write_supported.py`` writes docs/supported.md.
Channels and strides are those of the stock config, with two classes (three in mmseg's). A refused
tap is listed too, with the words of its error.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Tuple, Union

Channels = Union[int, Tuple[int, ...]]


class Tap(NamedTuple):
    """A module that can be tapped, and what it gives.

    Args:
        module: its path in student and teacher.
        channels: of each map; of each call's map for ``"calls"``; the length of ``"vectors"``.
        strides: of each map, or of each call's.
        gives: ``"maps"`` (one call, all maps), ``"calls"`` (a layer of a head, once for each
            level), or ``"vectors"`` (a layer of a RoI head, one row per proposal).
    """

    module: str
    channels: Tuple[int, ...]
    strides: Tuple[int, ...] = ()
    gives: str = "maps"


class Family(NamedTuple):
    """A family of models.

    Args:
        name: as papers call it.
        config: of the student and of the teacher.
        taps: the first is ``pair.module``.
        changes: to the stock model, beside those of :func:`usual_changes`.
        needs: what it is trained on: ``boxes``, ``boxes, mixed`` (by ``MultiImageMixDataset``),
            ``masks``, ``masks, stuff`` (semantic maps) or ``label maps``.
        size: (height, width) of the test's images.
        hooks: of its stock config, beside mmdet's ``NumClassCheckHook``.
        idle: parameters of the stock model that get no gradient in its own training.
        note: for docs/supported.md.
        fast: in the normal tests; all others are marked slow.
    """

    name: str
    config: str
    taps: Tuple[Tap, ...]
    changes: Mapping[str, Any] = {}
    needs: str = "boxes"
    size: Tuple[int, int] = (64, 96)
    hooks: Tuple[str, ...] = ()
    idle: Tuple[str, ...] = ()
    note: str = ""
    fast: bool = False


class Refused(NamedTuple):
    """What does not work.

    Args:
        name: of the family and what was tried.
        config: of student and teacher.
        pair: the keys of ``pair`` that were tried.
        words: that the error has, in this order.
        why: the reason, and what to do; for docs/supported.md.
        changes, needs, size: as in :class:`Family`.
        fast: in the normal tests.
    """

    name: str
    config: str
    pair: Mapping[str, Any]
    words: Tuple[str, ...]
    why: str
    changes: Mapping[str, Any] = {}
    needs: str = "boxes"
    size: Tuple[int, int] = (64, 96)
    fast: bool = True


def _wide(channels: Channels, strides: Tuple[int, ...]) -> Tuple[int, ...]:
    return (channels,) * len(strides) if isinstance(channels, int) else channels


def maps(module: str, channels: Channels, *strides: int) -> Tap:
    """A module that gives all its maps in one call."""
    return Tap(module, _wide(channels, strides), strides)


def calls(module: str, channels: Channels, *strides: int) -> Tap:
    """A layer of a head that runs once for each level."""
    return Tap(module, _wide(channels, strides), strides, "calls")


def vectors(module: str, channels: int) -> Tap:
    """A layer of a RoI head."""
    return Tap(module, (channels,), (), "vectors")


P3_P7, P2_P6 = (8, 16, 32, 64, 128), (4, 8, 16, 32, 64)
DENSE = maps("neck", 256, *P3_P7)  # the FPN of one-stage detectors
PYRAMID = maps("neck", 256, *P2_P6)  # and of two-stage ones
R50 = maps("backbone", (256, 512, 1024, 2048), 4, 8, 16, 32)
R18 = maps("backbone", (64, 128, 256, 512), 4, 8, 16, 32)
R50_C5 = maps("backbone", 2048, 32)
R18_D8 = maps("backbone", (64, 128, 256, 512), 4, 8, 8, 8)
HRNET = maps("backbone", (18, 36, 72, 144), 4, 8, 16, 32)
TINY = maps("backbone", (96, 192, 384, 768), 4, 8, 16, 32)  # Swin and ConvNeXt
FIRST_BOX = vectors("roi_head.bbox_head.0.fc_reg", 4)  # of a cascade: the same for all classes
BOX = vectors("roi_head.bbox_head.fc_reg", 8)  # 4 for each class


def reg(name: str, channels: int = 4) -> Tap:
    """The last layer of a dense head's box branch."""
    return calls(f"bbox_head.{name}", channels, *P3_P7)


def classes(stride: int, head: str = "decode_head") -> Tap:
    """The class maps of a segmentor."""
    return maps(f"{head}.conv_seg", 3, stride)


def segmentor(name: str, config: str, taps: Tuple[Tap, ...], **other: Any) -> Family:
    """A family of mmsegmentation."""
    return Family(name, config, taps, **{"needs": "label maps", "size": (64, 64), **other})


# Fewer proposals and samples: the test's images have two boxes.
_FEW = dict(rpn_proposal=dict(nms_pre=50, max_per_img=20))
_FEW_BOXES = dict(train_cfg=dict(rcnn=dict(sampler=dict(num=16)), **_FEW))
_FEW_BOXES_CASCADE = dict(
    train_cfg=dict(rcnn={str(i): dict(sampler=dict(num=16)) for i in range(3)}, **_FEW)
)
_ENCODER = "bbox_head.transformer.encoder"
_PIXELS = "panoptic_head.pixel_decoder"
_TWO_LAYERS = dict(
    transformer=dict(encoder=dict(num_layers=2), decoder=dict(num_layers=2)), num_query=20
)


def _two_things(**head: Any) -> Dict[str, Any]:
    """MaskFormer's kinds of classes: things and stuff, with a weight each and for 'none'."""
    kinds = dict(num_things_classes=2, num_stuff_classes=0)
    weights = dict(loss_cls=dict(class_weight=[1.0, 1.0, 0.1]))
    few = dict(num_queries=20, transformer_decoder=dict(num_layers=2), **head)
    return dict(panoptic_head=dict(**kinds, **weights, **few), panoptic_fusion_head=kinds)


# fmt: off
ONE_STAGE: Tuple[Family, ...] = (
    Family("RetinaNet", "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py",
           (DENSE, R18, reg("retina_reg", 36)), fast=True),
    Family("FCOS", "mmdet::fcos/fcos_r50_caffe_fpn_gn-head_1x_coco.py",
           (DENSE, R50, reg("conv_reg")), fast=True),
    Family("ATSS", "mmdet::atss/atss_r50_fpn_1x_coco.py", (DENSE, R50, reg("atss_reg")), fast=True),
    Family("GFL", "mmdet::gfl/gfl_r50_fpn_1x_coco.py", (DENSE, R50, reg("gfl_reg", 68))),
    Family("PAA", "mmdet::paa/paa_r50_fpn_1x_coco.py", (DENSE, R50, reg("atss_reg"))),
    Family("VFNet", "mmdet::vfnet/vfnet_r50_fpn_1x_coco.py", (DENSE, R50, reg("vfnet_reg"))),
    Family("TOOD", "mmdet::tood/tood_r50_fpn_1x_coco.py", (DENSE, R50, reg("tood_reg")),
           hooks=("SetEpochInfoHook",), fast=True),
    Family("FSAF", "mmdet::fsaf/fsaf_r50_fpn_1x_coco.py", (DENSE, R50, reg("retina_reg"))),
    Family("FreeAnchor", "mmdet::free_anchor/retinanet_free_anchor_r50_fpn_1x_coco.py",
           (DENSE, R50, reg("retina_reg", 36))),
    Family("AutoAssign", "mmdet::autoassign/autoassign_r50_fpn_8x2_1x_coco.py",
           (DENSE, R50, reg("conv_reg"))),
    Family("RepPoints", "mmdet::reppoints/reppoints_moment_r50_fpn_1x_coco.py",
           (DENSE, R50, reg("reppoints_pts_init_out", 18), reg("reppoints_pts_refine_out", 18))),
    Family("CenterNet", "mmdet::centernet/centernet_resnet18_140e_coco.py",
           (maps("neck", 64, 4), R18, calls("bbox_head.wh_head", 2, 4),
            maps("bbox_head.heatmap_head", 2, 4)),
           note="the heat map has a channel for each class", fast=True),
    Family("CenterNet, DCNv2", "mmdet::centernet/centernet_resnet18_dcnv2_140e_coco.py",
           (maps("neck", 64, 4), R18, calls("bbox_head.wh_head", 2, 4))),
    Family("YOLOv3", "mmdet::yolo/yolov3_d53_320_273e_coco.py",
           (maps("neck", (512, 256, 128), 32, 16, 8),
            maps("backbone", (256, 512, 1024), 8, 16, 32),
            calls("bbox_head.convs_pred.0", 21, 32)),
           note="`convs_pred.0`: 3 anchors x (5 + classes)"),
    Family("YOLOv3, MobileNetV2", "mmdet::yolo/yolov3_mobilenetv2_320_300e_coco.py",
           (maps("neck", 96, 32, 16, 8), maps("backbone", (32, 96, 320), 8, 16, 32)),
           idle=("backbone.conv2.",), fast=True),
    Family("YOLOF", "mmdet::yolof/yolof_r50_c5_8x8_1x_coco.py",
           (maps("neck", 512, 32), R50_C5, calls("bbox_head.bbox_pred", 20, 32))),
    Family("YOLOX", "mmdet::yolox/yolox_tiny_8x8_300e_coco.py",
           (maps("neck", 96, 8, 16, 32), maps("backbone", (96, 192, 384), 8, 16, 32),
            calls("bbox_head.multi_level_conv_reg.0", 4, 8)),
           dict(input_size=(64, 96), random_size_range=(2, 2)), "boxes, mixed",
           hooks=("YOLOXModeSwitchHook", "SyncNormHook", "ExpMomentumEMAHook"),
           note="`random_size_range` must be one size in both models", fast=True),
    Family("SSD300", "mmdet::ssd/ssd300_coco.py",
           (maps("neck", (512, 1024, 512, 256, 256, 256), 8, 16, 32, 64, 100, 300),
            maps("backbone", (512, 1024), 8, 16), calls("bbox_head.reg_convs.0", 16, 8)),
           size=(300, 300), hooks=("CheckInvalidLossHook",), note="images of 300 x 300"),
    Family("SSDLite", "mmdet::ssd/ssdlite_mobilenetv2_scratch_600e_coco.py",
           (maps("neck", (96, 1280, 512, 256, 256, 128), 16, 32, 64, 128, 160, 320),
            maps("backbone", (96, 1280), 16, 32)),
           size=(320, 320), hooks=("CheckInvalidLossHook",), note="images of 320 x 320"),
)
TWO_STAGE: Tuple[Family, ...] = (
    Family("Faster R-CNN", "mmdet::faster_rcnn/faster_rcnn_r50_fpn_1x_coco.py",
           (PYRAMID, R50, BOX, calls("rpn_head.rpn_reg", 12, *P2_P6)), _FEW_BOXES, fast=True),
    Family("Mask R-CNN", "mmdet::mask_rcnn/mask_rcnn_r50_fpn_1x_coco.py",
           (PYRAMID, R50, BOX), _FEW_BOXES, "masks"),
    Family("Cascade R-CNN", "mmdet::cascade_rcnn/cascade_rcnn_r50_fpn_1x_coco.py",
           (PYRAMID, R50, FIRST_BOX), _FEW_BOXES_CASCADE),
    Family("Cascade Mask R-CNN", "mmdet::cascade_rcnn/cascade_mask_rcnn_r50_fpn_1x_coco.py",
           (PYRAMID, R50, FIRST_BOX), _FEW_BOXES_CASCADE, "masks"),
    Family("HTC, no semantic branch", "mmdet::htc/htc_without_semantic_r50_fpn_1x_coco.py",
           (PYRAMID, R50, FIRST_BOX), _FEW_BOXES_CASCADE, "masks"),
    Family("HTC", "mmdet::htc/htc_r50_fpn_1x_coco.py",
           (PYRAMID, R50), _FEW_BOXES_CASCADE, "masks, stuff"),
    Family("DetectoRS", "mmdet::detectors/detectors_cascade_rcnn_r50_1x_coco.py",
           (PYRAMID, FIRST_BOX), _FEW_BOXES_CASCADE, size=(96, 128),
           note="`backbone` gives the image as its first map"),
    Family("Sparse R-CNN", "mmdet::sparse_rcnn/sparse_rcnn_r50_fpn_1x_coco.py",
           (maps("neck", 256, 4, 8, 16, 32), R50),
           dict(rpn_head=dict(num_proposals=20))),
)
TRANSFORMERS: Tuple[Family, ...] = (
    Family("DETR", "mmdet::detr/detr_r50_8x2_150e_coco.py",
           (R50_C5, maps("bbox_head.input_proj", 256, 32)), dict(bbox_head=_TWO_LAYERS),
           note="it has no neck", fast=True),
    Family("Deformable DETR", "mmdet::deformable_detr/deformable_detr_r50_16x2_50e_coco.py",
           (maps("neck", 256, 8, 16, 32, 64), maps(_ENCODER, 256, 8, 16, 32, 64),
            maps(f"{_ENCODER}.layers.1", 256, 8, 16, 32, 64),
            maps("backbone", (512, 1024, 2048), 8, 16, 32)),
           dict(bbox_head=_TWO_LAYERS), fast=True),
    Family("SOLO", "mmdet::solo/solo_r50_fpn_1x_coco.py",
           (PYRAMID, R50, maps("mask_head.conv_mask_list.0", 1600, 4)), needs="masks"),
    Family("Mask2Former", "mmdet::mask2former/mask2former_r50_lsj_8x2_50e_coco.py",
           (R50, maps(f"{_PIXELS}.mask_feature", 256, 4),
            maps(f"{_PIXELS}.encoder", 256, 32, 16, 8)),
           _two_things(pixel_decoder=dict(encoder=dict(num_layers=2))), "masks",
           note="it has no neck"),
    Family("MaskFormer", "mmdet::maskformer/maskformer_r50_mstrain_16x1_75e_coco.py",
           (R50, maps(_PIXELS, 256, 4, 32)),
           _two_things(pixel_decoder=dict(encoder=dict(num_layers=2))), "masks",
           note="it has no neck"),
)
NECKS_AND_BACKBONES: Tuple[Family, ...] = (
    Family("PAFPN neck", "mmdet::pafpn/faster_rcnn_r50_pafpn_1x_coco.py",
           (PYRAMID, BOX), _FEW_BOXES),
    Family("Libra R-CNN (FPN, BFP)", "mmdet::libra_rcnn/libra_faster_rcnn_r50_fpn_1x_coco.py",
           (PYRAMID, maps("neck.0", 256, *P2_P6), BOX),
           dict(train_cfg=dict(rcnn=dict(sampler=dict(num=16)), **_FEW))),
    Family("DyHead neck", "mmdet::dyhead/atss_r50_fpn_dyhead_1x_coco.py",
           (DENSE, maps("neck.0", 256, *P3_P7), reg("atss_reg"))),
    Family("HRNet (HRFPN)", "mmdet::hrnet/faster_rcnn_hrnetv2p_w18_1x_coco.py",
           (PYRAMID, HRNET, BOX), _FEW_BOXES, size=(64, 128)),
    Family("EfficientNet", "mmdet::efficientnet/retinanet_effb3_fpn_crop896_8x4_1x_coco.py",
           (DENSE, maps("backbone", (48, 136, 384), 8, 16, 32))),
    Family("Swin", "mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py",
           (DENSE, maps("backbone", (192, 384, 768), 8, 16, 32), reg("retina_reg", 36))),
    Family("ConvNeXt", "mmdet::convnext/mask_rcnn_convnext-t_p4_w7_fpn_fp16_ms-crop_3x_coco.py",
           (PYRAMID, TINY, BOX), _FEW_BOXES, "masks"),
    Family("PVT", "mmdet::pvt/retinanet_pvt-t_fpn_1x_coco.py",
           (DENSE, maps("backbone", (64, 128, 320, 512), 4, 8, 16, 32), reg("retina_reg", 36))),
    Family("PVTv2", "mmdet::pvt/retinanet_pvtv2-b0_fpn_1x_coco.py",
           (DENSE, maps("backbone", (32, 64, 160, 256), 4, 8, 16, 32), reg("retina_reg", 36)),
           fast=True),
)
SEGMENTORS: Tuple[Family, ...] = (
    segmentor("PSPNet", "mmseg::pspnet/pspnet_r18-d8_512x1024_80k_cityscapes.py",
           (classes(8), R18_D8, maps("decode_head.bottleneck", 128, 8)), fast=True),
    segmentor("DeepLabV3", "mmseg::deeplabv3/deeplabv3_r18-d8_512x1024_80k_cityscapes.py",
           (classes(8), R18_D8, maps("decode_head.bottleneck", 128, 8)), fast=True),
    segmentor("DeepLabV3+", "mmseg::deeplabv3plus/deeplabv3plus_r18-d8_512x1024_80k_cityscapes.py",
           (classes(4), R18_D8, maps("decode_head.bottleneck", 128, 8))),
    segmentor("OCRNet (HRNet)", "mmseg::ocrnet/ocrnet_hr18s_512x1024_40k_cityscapes.py",
           (classes(4, "decode_head.1"), HRNET, classes(4, "decode_head.0")), fast=True),
    segmentor("PointRend", "mmseg::point_rend/pointrend_r50_512x1024_80k_cityscapes.py",
           (maps("neck", 256, 4, 8, 16, 32), R50, classes(4, "decode_head.0"))),
    segmentor("STDC", "mmseg::stdc/stdc1_512x1024_80k_cityscapes.py",
           (classes(8), maps("backbone", (256, 128, 128, 256), 8, 16, 8, 8),
            classes(8, "auxiliary_head.0")), size=(128, 128)),
    segmentor("Fast-SCNN", "mmseg::fastscnn/fast_scnn_lr0.12_8x4_160k_cityscapes.py",
           (classes(8), maps("backbone", (64, 128, 128), 8, 32, 8)), size=(128, 128), fast=True),
    segmentor("UNet (FCN)", "mmseg::unet/fcn_unet_s5-d16_64x64_40k_drive.py",
           (classes(1), maps("backbone", (1024, 512, 256, 128, 64), 16, 8, 4, 2, 1))),
    segmentor("SegFormer", "mmseg::segformer/segformer_mit-b0_512x512_160k_ade20k.py",
           (classes(4), maps("backbone", (32, 64, 160, 256), 4, 8, 16, 32)), fast=True),
    segmentor("UPerNet", "mmseg::upernet/upernet_r18_512x1024_40k_cityscapes.py",
           (classes(4), R18, maps("decode_head.fpn_bottleneck", 512, 4))),
    segmentor("UPerNet, Swin", "mmseg::swin/"
           "upernet_swin_tiny_patch4_window7_512x512_160k_ade20k_pretrain_224x224_1K.py",
           (classes(4), TINY)),
    segmentor("UPerNet, ConvNeXt",
           "mmseg::convnext/upernet_convnext_tiny_fp16_512x512_160k_ade20k.py",
           (classes(4), TINY)),
)
GROUPS: Tuple[Tuple[str, Tuple[Family, ...]], ...] = (
    ("One-stage detectors", ONE_STAGE),
    ("Two-stage detectors and cascades", TWO_STAGE),
    ("Transformers and masks", TRANSFORMERS),
    ("Other necks and backbones of detectors", NECKS_AND_BACKBONES),
    ("Segmentors", SEGMENTORS),
)
FAMILIES: Tuple[Family, ...] = tuple(family for _, group in GROUPS for family in group)


def _box_layer(module: str) -> Dict[str, Any]:
    return dict(losses=dict(regression=dict(module=module, loss_weight=1.0)))


def _refused(
    name: str, like: str, pair: Mapping[str, Any], words: Any, why: str, **other: Any
) -> Refused:
    """What does not work in a family that works otherwise."""
    family = next(family for family in FAMILIES if family.name == like)
    keys = {key: getattr(family, key) for key in ("changes", "needs", "size")}
    words = (words,) if isinstance(words, str) else words
    return Refused(name, family.config, pair, words, why, **{**keys, **other})


REFUSED: Tuple[Refused, ...] = (
    _refused("DETR: `neck`", "DETR", dict(module="neck"), ("neck", "DETR has no such module"),
             "It has no neck. Tap `backbone` or `bbox_head.input_proj`."),
    _refused("DETR: `bbox_head.transformer.encoder`", "DETR", dict(module=_ENCODER),
             ("gives a sequence", "spatial_shapes"),
             "The encoder is not told the sizes of its maps, so its sequence cannot be put back "
             "into them. Tap `bbox_head.input_proj`."),
    _refused("DETR: its decoder", "DETR", dict(module="bbox_head.transformer.decoder"),
             "Queries, boxes and parts of images are no maps",
             "It gives a vector for each query. Tap `backbone` or `bbox_head.input_proj`."),
    _refused("MaskFormer: its decoder", "MaskFormer",
             dict(module="panoptic_head.transformer_decoder"),
             "Queries, boxes and parts of images are no maps",
             "It gives a vector for each query. Tap `panoptic_head.pixel_decoder`.", fast=False),
    _refused("MaskFormer: `panoptic_head.pixel_decoder.encoder`", "MaskFormer",
             dict(module=f"{_PIXELS}.encoder"), ("gives a sequence", "spatial_shapes"),
             "As DETR's encoder. Tap `panoptic_head.pixel_decoder`, whose second map it is."),
    _refused("Mask2Former: `panoptic_head.pixel_decoder`", "Mask2Former", dict(module=_PIXELS),
             "a tuple of Tensor, list",
             "It gives a list within a tuple. Tap its `encoder` or its `mask_feature`."),
    _refused("Sparse R-CNN: layers of its box heads", "Sparse R-CNN",
             _box_layer("roi_head.bbox_head.0.fc_reg"), ("also needs", "object_feats"),
             "Its heads need features of the proposals beside their boxes, so the teacher's cannot "
             "be run on the student's boxes. Tap `neck`.", fast=False),
    _refused("HTC with the semantic branch: layers of its box heads", "HTC",
             _box_layer("roi_head.bbox_head.0.fc_reg"), ("also needs", "semantic_feat"),
             "Its heads need the semantic branch's features too. Tap `neck`; without the semantic "
             "branch it works.", fast=False),
    _refused("Mask R-CNN: layers of its mask head", "Mask R-CNN",
             _box_layer("roi_head.mask_head.conv_logits"), "lies in no box head",
             "Only box heads of the teacher are run on the student's boxes. Tap `neck`."),
    _refused("PointRend: its point head", "PointRend", dict(module="decode_head.1.fc_seg"),
             ("gives a sequence", "spatial_shapes"),
             "It gives points drawn by chance, not maps. Tap `decode_head.0.conv_seg`."),
    _refused("Swin: a stage, `backbone.stages.2`", "Swin", dict(module="backbone.stages.2"),
             "gives a tuple of Tensor, tuple",
             "A stage gives a sequence and its size. Tap `backbone`, which gives all stages as "
             "maps."),
    _refused("YOLOX: images of random sizes", "YOLOX", dict(module="neck"),
             ("resizes each batch by chance", "random_size_range"),
             "Student and teacher would draw different sizes. Give both one size: "
             "`random_size_range=(20, 20)`.", changes={}),
    _refused("YOLOX: data of another type than `MultiImageMixDataset`", "YOLOX",
             dict(module="neck"), ("YOLOXModeSwitchHook", "MultiImageMixDataset"),
             "Its stock hook switches that data set's augmentations off. Take such a data set, or "
             "leave the hook out: `stock_hooks=dict(YOLOXModeSwitchHook=None)`.", needs="boxes"),
    _refused("SSD300: images of another size", "SSD300", dict(module="neck"),
             "does not run on a blank image of the data's shape",
             "It is made for images of 300 x 300 pixels.", size=(64, 96), fast=False),
)
# fmt: on


def is_segmentor(config: str) -> bool:
    """Whether a stock config is mmsegmentation's."""
    return config.startswith("mmseg::")


# Heads whose classes are not the data set's: objects and background, boundaries, 'stuff'.
_OTHER_CLASSES = ("FusedSemanticHead", "STDCHead")


def class_keys(model: Any) -> List[str]:
    """Where a stock model says how many classes there are: ``bbox_head.num_classes``."""
    keys = [key for key, _ in _walk(model) if key.split(".")[-1] == "num_classes"]
    return [key for key in keys if _at(model, key).get("type") not in _OTHER_CLASSES]


def usual_changes(model: Any, num_classes: int) -> Dict[str, Any]:
    """What every family needs for a test: no downloads, and the test's classes.

    Returns:
        Changes in the form of ``pair.student``; an entry of a list is named by its number.
    """
    changes: Dict[str, Any] = {}
    for key, value in _walk(model):
        last = key.split(".")[-1]
        if last == "pretrained" or (last == "init_cfg" and "checkpoint" in (value or ())):
            _put(changes, key, None)
    for key in class_keys(model):
        _put(changes, key, num_classes)
    return changes


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> Dict[str, Any]:
    """Both changes; the second counts where both speak of one key."""
    both = dict(first)
    for key, value in second.items():
        inner = both.get(key)
        both[key] = (
            merged(inner, value)
            if isinstance(inner, Mapping) and isinstance(value, Mapping)
            else value
        )
    return both


def _walk(node: Any, prefix: str = "") -> List[Tuple[str, Any]]:
    """Every dotted key below ``node`` with its value."""
    found: List[Tuple[str, Any]] = []
    items = node.items() if isinstance(node, Mapping) else enumerate(node)
    for name, value in items:
        found.append((f"{prefix}{name}", value))
        if isinstance(value, (Mapping, list, tuple)):
            found += _walk(value, f"{prefix}{name}.")
    return found


def _at(model: Any, key: str) -> Any:
    """The part that has the last name of a dotted key."""
    for name in key.split(".")[:-1]:
        model = model[int(name)] if isinstance(model, (list, tuple)) else model[name]
    return model


def _put(changes: Dict[str, Any], key: str, value: Any) -> None:
    *holders, last = key.split(".")
    for name in holders:
        changes = changes.setdefault(name, {})
    changes[last] = value
