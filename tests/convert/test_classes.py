"""A model of fewer classes: equal scores for those that stay, in the order that was asked for."""

import pytest
import torch

from freekd import compat

compat.apply()

from mmcv.runner import save_checkpoint

from freekd.convert.check import built_model
from freekd.convert.classes import main, with_classes
from freekd.convert.output import ConversionError
from freekd.fileio import load_checkpoint_file

WIDE = ("cat", "dog", "cow", "hen")
KEEP = ("hen", "dog")


def config(tmp_path, name, text):
    path = tmp_path / f"{name}.py"
    path.write_text(text)
    return str(path)


HEAD = "from freekd.zoo.stock import stock_path\n"
RETINA = (
    HEAD + "_base_ = [stock_path('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py')]\n"
    "model = dict(bbox_head=dict(num_classes={}))\n"
)
FASTER = (
    HEAD + "_base_ = [stock_path('mmdet::faster_rcnn/faster_rcnn_r50_fpn_1x_coco.py')]\n"
    "model = dict(roi_head=dict(bbox_head=dict(num_classes={})))\n"
)
FCN = (
    HEAD + "_base_ = [stock_path('mmseg::fcn/fcn_r18-d8_512x1024_80k_cityscapes.py')]\n"
    "model = dict(decode_head=dict(num_classes={0}), auxiliary_head=dict(num_classes={0}))\n"
)


@pytest.fixture(params=[RETINA, FASTER, FCN], ids=["retinanet", "faster_rcnn", "fcn"])
def wide(request, tmp_path):
    """(config of the narrow model, checkpoint of the wide one, the wide model)."""
    torch.manual_seed(0)
    model = built_model(config(tmp_path, "wide", request.param.format(4)))
    path = str(tmp_path / "wide.pth")
    save_checkpoint(model, path, meta=dict(CLASSES=WIDE))
    return config(tmp_path, "narrow", request.param.format(2)), path, model


def test_the_scores_of_those_that_stay(wide, tmp_path):
    narrow_config, path, model = wide
    out = str(tmp_path / "narrow.pth")
    assert main([narrow_config, path, "--classes", *KEEP, "--out-path", out]) == 0
    content = load_checkpoint_file(out)
    assert tuple(content["meta"]["CLASSES"]) == KEEP
    narrow = built_model(narrow_config)
    narrow.load_state_dict(content["state_dict"], strict=True)
    order = [WIDE.index(name) for name in KEEP]
    torch.manual_seed(1)
    if hasattr(model, "roi_head"):  # the background comes last; a box for each class
        feat = torch.randn(3, 256, 7, 7)
        (ours, boxes), (theirs, their_boxes) = (
            one.roi_head.bbox_head(feat) for one in (narrow, model)
        )
        torch.testing.assert_close(ours, theirs[:, [*order, 4]])
        torch.testing.assert_close(boxes.view(3, 2, 4), their_boxes.view(3, 4, 4)[:, order])
    elif hasattr(model, "decode_head"):
        feat = torch.randn(1, 128, 4, 4)
        ours, theirs = (one.decode_head.conv_seg(feat) for one in (narrow, model))
        torch.testing.assert_close(ours, theirs[:, order])
    else:
        feat = torch.randn(1, 256, 4, 4)
        ours, theirs = (one.bbox_head.retina_cls(feat) for one in (narrow, model))
        torch.testing.assert_close(ours.view(9, 2, 4, 4), theirs.view(9, 4, 4, 4)[:, order])


def test_another_order_of_all_classes(tmp_path):
    """No shape changes, and still each class must find its own weights."""
    model = built_model(config(tmp_path, "same", RETINA.format(4)))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    content = dict(meta=dict(CLASSES=WIDE), state_dict=state)
    made = with_classes(content, model, WIDE[::-1], "x.pth")
    weight = "bbox_head.retina_cls.weight"
    ours, theirs = (one[weight].view(9, 4, -1) for one in (made["state_dict"], state))
    assert torch.equal(ours, theirs[:, [3, 2, 1, 0]])
    same = with_classes(content, model, WIDE, "x.pth")["state_dict"]
    assert all(torch.equal(same[name], value) for name, value in state.items())


def test_what_is_refused(tmp_path):
    model = built_model(config(tmp_path, "narrow", RETINA.format(2)))
    state = built_model(config(tmp_path, "wide", RETINA.format(4))).state_dict()
    content = dict(meta=dict(CLASSES=WIDE), state_dict=state)
    with pytest.raises(ConversionError, match="It has no bird"):
        with_classes(content, model, ["cat", "bird"], "x.pth")
    with pytest.raises(ConversionError, match="each once"):
        with_classes(content, model, ["cat", "cat"], "x.pth")
    with pytest.raises(ConversionError, match=r"num_classes=3"):
        with_classes(content, model, ["cat", "dog", "hen"], "x.pth")
    with pytest.raises(ConversionError, match="names of its classes"):
        with_classes(dict(state_dict=state), model, KEEP, "x.pth")
    distilled = {f"architecture.model.{name}": value for name, value in state.items()}
    with pytest.raises(ConversionError, match="convert_kd_ckpt_to_student.py"):
        with_classes(dict(meta={}, state_dict=distilled), model, KEEP, "x.pth")
