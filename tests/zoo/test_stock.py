"""Stock configs by name. Oracle: mmcv's own inheritance, and the packages' own model zoo files."""

from pathlib import Path

import pytest
import tiny
import yaml
from mmcv import Config

from freekd.config import load
from freekd.engine import build
from freekd.zoo.merge import MergeError
from freekd.zoo.stock import StockConfigError, official_checkpoint, read_model, stock, stock_path

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
        text = path.read_text(encoding="utf-8")
        joined = "pair = " in text or "prompt = " in text
        cfg = Config.fromfile(str(path)) if joined else {}
        part = cfg.get("pair") or cfg.get("prompt") or {}
        stock = "::" in str(part.get("teacher"))  # networks of this project are in no model zoo
        if stock and str(part.get("teacher_checkpoint")).startswith("http"):
            yield pytest.param(part, id=f"{path.parent.name}/{path.stem}")


@pytest.mark.parametrize("part", configs_with_weights())
def test_addresses_are_those_of_the_model_zoo(part):
    if part.teacher_checkpoint != official_checkpoint(part.teacher):  # weights of ImageNet-21k
        path = Path(stock_path(part.teacher))
        models = yaml.safe_load((path.parent / "metafile.yml").read_text(encoding="utf-8"))[
            "Models"
        ]
        of_config = [one["Weights"] for one in models if one["Config"].endswith(f"/{path.name}")]
        assert part.teacher_checkpoint in of_config


# --------------------------------------------------------------------------- the old style
OLD = "model = dict(type='RetinaNet', {inner})\n{outer}\n"


def old(folder, name="old.py", inner="", outer=""):
    (folder / name).write_text(OLD.format(inner=inner, outer=outer))
    return str(folder / name)


def test_configs_of_the_old_style(tmp_path):
    """``train_cfg`` and ``test_cfg`` at the top level come into the model, where it lacks them."""
    outer = "train_cfg = dict(a=1)\ntest_cfg = dict(b=2)"
    path = old(tmp_path, outer=outer)
    expected = dict(type="mmdet.RetinaNet", train_cfg=dict(a=1), test_cfg=dict(b=2))
    assert read_model(path, "pair.student") == expected
    assert read_model(old(tmp_path, "same.py", "test_cfg=dict(b=2)", outer), "x") == expected
    changed = read_model(dict(config=path, train_cfg=dict(a=3), test_cfg=None), "x")
    assert changed == dict(type="mmdet.RetinaNet", train_cfg=dict(a=3), test_cfg=None)
    (tmp_path / "chain.py").write_text(f"model = dict(config={path!r}, train_cfg=dict(c=4))\n")
    assert read_model(str(tmp_path / "chain.py"), "x").train_cfg == dict(a=1, c=4)
    (tmp_path / "named.py").write_text(f"model = {path!r}\ntrain_cfg = None\n")
    assert read_model(str(tmp_path / "named.py"), "x") == expected


def test_both_styles_that_differ(tmp_path):
    path = old(tmp_path, inner="train_cfg=dict(a=1)", outer="train_cfg = dict(a=2)")
    with pytest.raises(ValueError) as error:
        read_model(path, "prompt.teacher")
    for word in ("prompt.teacher", path, "train_cfg and model.train_cfg", "{'a': 2}", "{'a': 1}"):
        assert word in str(error.value)


@pytest.mark.parametrize("short", ["pair", "prompt", "model", "algorithm"])
def test_an_old_teacher_is_built_in_every_form(tmp_path, short):
    """Oracle: mmdet's own builder, given the two beside the model."""
    from mmdet.models import build_detector

    model = tiny.detector()
    outer = {name: model.pop(name) for name in ("train_cfg", "test_cfg")}
    text = f"model = {model!r}\n" + "".join(f"{k} = {v!r}\n" for k, v in outer.items())
    (tmp_path / "old.py").write_text(text)
    path = str(tmp_path / "old.py")
    keys = dict(
        pair=dict(teacher=path, student=dict(config=path), losses=dict(mimic={})),
        prompt=dict(teacher=path, transform=dict(type="haar", levels=1)),
        model=dict(config=path),
        algorithm=tiny.distill([tiny.freekd_loss()], teacher=dict(config=path)),
    )
    (tmp_path / "config.py").write_text(f"{short} = {keys[short]!r}\n")
    built = build.build_model(load.load_config(str(tmp_path / "config.py")), "det")
    read = Config.fromfile(path)
    expected = build_detector(read.model, read.train_cfg, read.test_cfg)
    found = {
        "pair": lambda: [built.architecture.model, built.distiller.teacher],
        "prompt": lambda: [built.architecture.model],
        "model": lambda: [built],
        "algorithm": lambda: [built.distiller.teacher],
    }[short]()
    for one in found:
        assert one.test_cfg == expected.test_cfg == outer["test_cfg"]
        assert one.bbox_head.train_cfg == expected.bbox_head.train_cfg == outer["train_cfg"]


def test_references_that_lead_nowhere(tmp_path):
    a, b = str(tmp_path / "a.py"), str(tmp_path / "b.py")
    (tmp_path / "a.py").write_text(f"model = dict(config={b!r})\n")
    (tmp_path / "b.py").write_text(f"model = {a!r}\n")
    (tmp_path / "c.py").write_text("model = 3\n")
    (tmp_path / "d.py").write_text("modle = dict()\n")
    with pytest.raises(ValueError, match="pair.teacher.*leads back to itself"):
        read_model(a, "pair.teacher")
    with pytest.raises(ValueError, match="pair.teacher.*c.py'.*model.*got 3"):
        read_model(str(tmp_path / "c.py"), "pair.teacher")
    with pytest.raises(ValueError, match=r"pair.teacher.*no 'model'; keys: \['modle'\]"):
        read_model(str(tmp_path / "d.py"), "pair.teacher")


# --------------------------------------------------------------------------- entries of lists
CASCADE = "mmdet::cascade_rcnn/cascade_rcnn_r50_fpn_1x_coco.py"
OCRNET = "mmseg::ocrnet/ocrnet_hr18_512x1024_40k_cityscapes.py"


@pytest.mark.parametrize(
    "change, classes",
    [
        ({0: dict(num_classes=2)}, [2, 19]),
        ({"1": dict(num_classes=2), 0: dict(num_classes=3)}, [3, 2]),
        ([dict(num_classes=2), dict()], [2, 19]),
        ([dict(type="FCNHead", num_classes=7)], [7]),
        ({0: dict(_delete_=True, num_classes=5)}, [5, 19]),
    ],
)
def test_entries_of_a_list(change, classes):
    before = read_model(OCRNET, "x").decode_head
    after = read_model(dict(config=OCRNET, decode_head=change), "x").decode_head
    assert [head.num_classes for head in after] == classes
    if len(after) == 2 and len(after[0]) > 1:  # all else as it was
        assert [dict(h, num_classes=0) for h in after] == [dict(h, num_classes=0) for h in before]
    else:
        assert after[0] == dict(change[0], num_classes=classes[0]) or "_delete_" in change[0]
        assert "_delete_" not in after[0]


def test_lists_of_dicts_without_type():
    """A cascade's ``train_cfg.rcnn``: as many are merged, another number replaces them."""
    own = [dict(sampler=dict(num=n)) for n in (1, 2, 3)]
    stages = read_model(dict(config=CASCADE, train_cfg=dict(rcnn=own)), "x").train_cfg.rcnn
    assert [stage.sampler.num for stage in stages] == [1, 2, 3]
    assert [stage.assigner.pos_iou_thr for stage in stages] == [0.5, 0.6, 0.7]
    stages = read_model(dict(config=CASCADE, train_cfg=dict(rcnn=own[:2])), "x").train_cfg.rcnn
    assert stages == own[:2]


@pytest.mark.parametrize(
    "change, words",
    [
        ({3: dict(num_classes=2)}, ["0 to 2", "got 3"]),
        ({-1: dict(num_classes=2)}, ["0 to 2", "got -1"]),
        ({True: dict(num_classes=2)}, ["0 to 2", "got True"]),
        (dict(num_classes=2), ["got 'num_classes'", "[{'num_classes': 2}] * 3 for all"]),
        ({0: dict(a=1), "0": dict(a=2)}, ["entry 0 is given twice"]),
        ([dict(num_classes=2)] * 2, ["a list of 2 entries", "none of them with a type"]),
        ([dict(type="A"), dict(), dict()], ["not all of them with a type"]),
        ([None, dict(), dict()], ["not all of them with a type"]),
        (3, ["got 3", "{0: dict(...)}"]),
        ({0: 3}, ["roi_head.bbox_head.0", "dict(type='Shared2FCBBoxHead', ...)", "got 3"]),
        ({0: {"num_classes": {"a": 1}}}, ["bbox_head.0.num_classes", "80", "_delete_=True"]),
    ],
)
def test_changes_that_fit_no_list(change, words):
    with pytest.raises(MergeError) as error:
        read_model(dict(config=CASCADE, roi_head=dict(bbox_head=change)), "pair.teacher")
    words = [*words, "pair.teacher.roi_head.bbox_head"]
    words += [CASCADE] if "twice" not in words[0] else []
    assert all(word in str(error.value) for word in words), str(error.value)
