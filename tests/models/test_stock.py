"""Stock configs by name. Oracle: mmcv's own inheritance, and the packages' own model zoo files."""

from pathlib import Path

import pytest
from mmcv import Config

from freekd.models.stock import StockConfigError, official_checkpoint, read_model, stock, stock_path

ROOT = Path(__file__).resolve().parents[2]
RETINANET = "mmdet::retinanet/retinanet_r50_fpn_2x_coco.py"


def test_changes_merge_as_in_a_child_config(tmp_path):
    changes = dict(
        backbone=dict(_delete_=True, type="MobileNetV2", out_indices=(2, 4, 7)),
        bbox_head=dict(num_classes=4, anchor_generator=dict(octave_base_scale=3)),
    )
    child = tmp_path / "child.py"
    child.write_text(f"_base_ = [{stock_path(RETINANET)!r}]\nmodel = {changes!r}\n")
    expected = Config.fromfile(str(child)).model
    expected.type = "mmdet.RetinaNet"
    assert read_model(dict(config=RETINANET, **changes), "pair.student") == expected


def test_changes_reach_the_items_of_a_list():
    model = dict(
        config="mmdet::cascade_rcnn/cascade_rcnn_r50_fpn_1x_coco.py",
        roi_head=dict(bbox_head={"1": dict(num_classes=4)}),
    )
    heads = read_model(model, "model").roi_head.bbox_head
    assert [head.num_classes for head in heads] == [80, 4, 80]
    assert heads[1].type == "Shared2FCBBoxHead"


def test_a_config_may_name_another(tmp_path):
    (tmp_path / "a.py").write_text(
        f"model = dict(config={RETINANET!r}, bbox_head=dict(num_classes=7))"
    )
    model = read_model(str(tmp_path / "a.py"), "model")
    assert (model.bbox_head.num_classes, model.backbone.depth) == (7, 50)


@pytest.mark.parametrize(
    "reference, words",
    [
        (
            "mmdet::retinanet/retinanet_r50_fpn_2x.py",
            ["pair.student", "retinanet_r50_fpn_2x_coco.py"],
        ),
        ("mmdeet::retinanet/retinanet_r50_fpn_2x_coco.py", ["mmdeet", "'mmdet', 'mmseg'"]),
    ],
)
def test_a_wrong_name_gets_the_nearest(reference, words):
    with pytest.raises(StockConfigError) as error:
        read_model(reference, "pair.student")
    assert all(word in str(error.value) for word in words)


def test_a_wrong_change_names_the_key():
    with pytest.raises(ValueError, match="pair.teacher.*retinanet"):
        read_model(dict(config=RETINANET, backbone=dict(depth=dict(a=1))), "pair.teacher")


def test_parts_of_a_stock_config():
    runner, lr_config = stock(RETINANET, "runner", "lr_config")
    assert (runner.max_epochs, lr_config.step) == (24, [16, 22])
    with pytest.raises(StockConfigError, match="'rnner'"):
        stock(RETINANET, "rnner")


def configs_with_weights():
    for path in sorted((ROOT / "configs").glob("*/*.py")):
        cfg = Config.fromfile(str(path)) if path.parent.name in ("freekd", "prompt") else {}
        part = cfg.get("pair") or cfg.get("prompt") or {}
        if str(part.get("teacher_checkpoint")).startswith("http"):
            yield pytest.param(part, id=f"{path.parent.name}/{path.stem}")


@pytest.mark.parametrize("part", configs_with_weights())
def test_addresses_are_those_of_the_model_zoo(part):
    assert part.teacher_checkpoint == official_checkpoint(part.teacher)
