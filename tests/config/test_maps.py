"""Channels and number of maps. Oracles: the numbers in mmdet's and mmseg's own files, written out
here; what a larger image gives when the whole model runs on it."""

import random

import numpy as np
import pytest
import tiny
import torch

from freekd import compat

compat.apply()

from freekd.config import maps
from freekd.config.errors import ConfigError
from freekd.config.maps import Maps, tell_maps
from freekd.zoo.stock import read_model

# module: what it gives, by the stock config and the layers that mmdet or mmseg make of it
STOCK = {
    ("mmdet::yolox/yolox_tiny_8x8_300e_coco.py", "neck"): Maps(96, 3),
    ("mmdet::yolo/yolov3_mobilenetv2_mstrain-416_300e_coco.py", "neck"): Maps(96, 3),
    ("mmdet::yolo/yolov3_mobilenetv2_mstrain-416_300e_coco.py", "backbone"): Maps([32, 96, 320], 3),
    ("mmdet::yolof/yolof_r50_c5_8x8_1x_coco.py", "neck"): Maps(512, 1),
    ("mmdet::ssd/ssd300_coco.py", "neck"): Maps([512, 1024, 512, 256, 256, 256], 6),
    ("mmdet::centernet/centernet_resnet18_140e_coco.py", "neck"): Maps(64, 1),
    ("mmdet::hrnet/fcos_hrnetv2p_w18_gn-head_4x4_1x_coco.py", "backbone"): Maps(
        [18, 36, 72, 144], 4
    ),
    ("mmdet::hrnet/faster_rcnn_hrnetv2p_w18_1x_coco.py", "neck"): Maps(256, 5),
    ("mmdet::dyhead/atss_r50_fpn_dyhead_1x_coco.py", "neck"): Maps(256, 5),
    ("mmdet::detr/detr_r50_8x2_150e_coco.py", "backbone"): Maps(2048, 1),
    ("mmdet::solo/solo_r50_fpn_1x_coco.py", "mask_head.conv_mask_list.0"): Maps(1600, 1),
    ("mmseg::pspnet/pspnet_r18-d8_512x1024_80k_cityscapes.py", "auxiliary_head.conv_seg"): Maps(
        19, 1
    ),
    ("mmseg::ocrnet/ocrnet_hr18s_512x1024_40k_cityscapes.py", "decode_head.1.conv_seg"): Maps(
        19, 1
    ),
    ("mmseg::icnet/icnet_r18-d8_832x832_80k_cityscapes.py", "neck"): Maps(128, 3),
    ("mmseg::segformer/segformer_mit-b0_512x512_160k_ade20k.py", "backbone"): Maps(
        [32, 64, 160, 256], 4
    ),
    ("mmseg::fastscnn/fast_scnn_lr0.12_8x4_160k_cityscapes.py", "backbone"): Maps(
        [64, 128, 128], 3
    ),
}


@pytest.mark.parametrize(
    "reference, module", list(STOCK), ids=lambda value: value.split("/")[-1].split(".py")[0]
)
def test_stock_models(reference, module):
    assert tell_maps(read_model(reference, "x"), module, "x", reference) == STOCK[reference, module]


# a model without an image, as the text is certain: the model is not built
CERTAIN = {
    ("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", "neck"): Maps(256, 5),
    (
        "mmdet::deformable_detr/deformable_detr_r50_16x2_50e_coco.py",
        "bbox_head.transformer.encoder",
    ): Maps(256, 4),
    ("mmseg::pspnet/pspnet_r18-d8_512x1024_80k_cityscapes.py", "decode_head.conv_seg"): Maps(19, 1),
}


@pytest.mark.parametrize("reference, module", list(CERTAIN))
def test_what_the_text_tells_is_what_the_image_shows(reference, module, monkeypatch):
    model = read_model(reference, "x")
    with monkeypatch.context() as patch:
        patch.setattr(maps, "_from_image", None)
        told = tell_maps(model, module, "x", reference)
    assert told == CERTAIN[reference, module]
    assert maps._from_image(model, module, "x", reference) == told


@pytest.mark.parametrize("text", [True, False])
def test_binary_segmentation_with_one_channel(text):
    """``num_classes=2, out_channels=1``: one map, not two."""
    model = tiny.segmentor()
    model["decode_head"].update(num_classes=2, out_channels=1, threshold=0.3)
    model["decode_head"]["loss_decode"] = dict(type="CrossEntropyLoss", use_sigmoid=True)
    if text:
        assert tell_maps(model, "decode_head.conv_seg", "x") == Maps(1, 1)
    assert tell_maps(model, "decode_head", "x") == Maps(1, 1)
    assert maps._from_image(model, "decode_head.conv_seg", "x", None) == Maps(1, 1)


TINY = {
    "backbone": Maps([4, 8, 16, 32], 4),  # base_channels 4
    "backbone.layer4": Maps(32, 1),
    "backbone.conv1": Maps(4, 1),
    "neck.fpn_convs.1.conv": Maps(8, 1),
    "bbox_head.retina_cls": Maps(3, 1),  # an anchor of three classes, called once per level
    "bbox_head.retina_reg": Maps(4, 1),
}


@pytest.mark.parametrize("module", list(TINY))
def test_parts_of_a_detector(module):
    assert tell_maps(tiny.detector(), module, "x") == TINY[module]


@pytest.mark.parametrize("channels", [1, 4, 7, 12])
def test_images_of_other_channels(channels):
    model = tiny.detector()
    model["backbone"]["in_channels"] = channels
    assert tell_maps(model, "backbone", "x") == Maps([4, 8, 16, 32], 4)


def test_a_model_that_takes_one_size_only(tmp_path):
    """Its size is in its data: (w, h) = (96, 64), which no other guess is."""
    from mmdet.models import BACKBONES, ResNet

    @BACKBONES.register_module(force=True)
    class FixedSize(ResNet):
        def forward(self, x):
            if x.shape[-2:] != (64, 96):
                raise RuntimeError(f"not an image of mine: {tuple(x.shape)}")
            return super().forward(x)

    model = tiny.detector()
    model["backbone"]["type"] = "FixedSize"
    train = dict(dataset=dict(pipeline=[dict(type="Resize", img_scale=[(96, 64), (999, 64)])]))
    (tmp_path / "a.py").write_text(f"model = {model!r}\ndata = dict(train={train!r})\n")
    with pytest.raises(ConfigError, match=r"blank image: 128x128 .*not an image of mine"):
        tell_maps(model, "backbone", "x")
    for reference in (str(tmp_path / "a.py"), dict(config=str(tmp_path / "a.py"))):
        assert tell_maps(model, "backbone", "x", reference) == Maps([4, 8, 16, 32], 4)


def test_what_is_no_map_is_said():
    detr = read_model("mmdet::detr/detr_r50_8x2_150e_coco.py", "x")
    detr.backbone.depth = 18
    detr.backbone.style = "pytorch"
    detr.bbox_head.in_channels = 512
    with pytest.raises(ConfigError, match="pair.module='bbox_head.transformer.encoder'.*sequence"):
        tell_maps(detr, "bbox_head.transformer.encoder", "pair.module")
    with pytest.raises(ConfigError, match=r"'bbox_head.loss_cls'.*the module takes no part"):
        tell_maps(tiny.detector(), "bbox_head.loss_cls", "x")
    with pytest.raises(ConfigError, match="nearest: .*'neck'"):
        tell_maps(tiny.detector(), "nekc", "x")
    broken = tiny.detector()
    broken["neck"]["in_channels"] = [4, 8, 16, 31]
    with pytest.raises(ConfigError, match="blank image: 128x128 pixels, 3 channels: .*31"):
        tell_maps(broken, "neck.fpn_convs.0", "x")


def test_random_states_stay():
    def draw():
        return torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()

    def seed():
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)

    seed()
    expected = draw()
    seed()
    tell_maps(tiny.detector(), "backbone", "x")
    assert draw() == expected
