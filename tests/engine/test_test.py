"""Testing: metrics, json, and checkpoints that do not fill the model."""

import json
import pickle
import re

import numpy as np
import pytest
import torch

from freekd import compat

compat.apply()

import mmdet.datasets

from freekd.config import load
from freekd.config.errors import ConfigError
from freekd.convert.student import convert_student
from freekd.engine import (
    build,
    metrics,
)
from freekd.engine.test import main


@pytest.fixture(scope="module")
def checkpoints(tiny, tmp_path_factory):
    """Of a plain model and of a distillation, with random weights."""
    from mmcv.runner import save_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for name in ("plain", "distill"):
        cfg = load.load_config(tiny.config(f"test_{name}", distill=name == "distill"))
        model = build.build_model(cfg, "det")
        head = model.bbox_head if name == "plain" else model.architecture.model.bbox_head
        torch.nn.init.constant_(head.retina_cls.bias, 0.0)  # so that something is detected
        model.CLASSES = ("dark", "light")
        save_checkpoint(model, str(folder / f"{name}.pth"))
    convert_student(str(folder / "distill.pth"), str(folder / "student.pth"))
    return folder


def run(tiny, name, checkpoint, *more):
    return main([tiny.config(f"test_{name}", distill=name == "distill"), str(checkpoint), *more])


def test_student_alone_scores_as_in_its_distillation(tiny, checkpoints, tmp_path, capsys):
    found = {}
    for name, file in (("distill", "distill"), ("plain", "student")):
        assert run(
            tiny, name, checkpoints / f"{file}.pth", "--device", "cpu", "--eval", "bbox",
            "--json", str(tmp_path / f"{file}.json"), "--out", str(tmp_path / f"{file}.pkl"),
        ) == 0  # fmt: skip
        record = json.loads((tmp_path / f"{file}.json").read_text())
        assert record["task"] == "det" and record["images"] == tiny.count
        assert record["device"] == "cpu" and record["checkpoint"].endswith(f"{file}.pth")
        results = pickle.loads((tmp_path / f"{file}.pkl").read_bytes())
        assert len(results) == tiny.count and len(results[0]) == 2
        found[file] = record["metrics"], [box.tolist() for image in results for box in image]
    assert found["distill"] == found["student"]
    assert set(found["student"][0]) >= {"bbox_mAP", "bbox_mAP_50", "bbox_mAP_s"}
    assert any(found["student"][1])
    assert "bbox_mAP:" in capsys.readouterr().out


def test_nothing_detected_is_a_score_of_zero(tiny, checkpoints, tmp_path, capsys):
    options = ["--cfg-options", "model.test_cfg.score_thr=2.0"]
    assert (
        run(tiny, "plain", checkpoints / "plain.pth", "--json", str(tmp_path / "a"), *options) == 0
    )
    assert json.loads((tmp_path / "a").read_text())["metrics"] == {"bbox_mAP": 0.0}
    assert "bbox_mAP is 0: nothing was detected at all" in capsys.readouterr().out


# --------------------------------------------------------------------------- what is evaluated
def scored(tiny, checkpoints, folder, name, evaluation, *more, test="cfg"):
    """The scores of ``tools/test.py``, and what the stock dataset says of the same results."""
    extra = f"evaluation = dict({evaluation})\n"
    extra += "" if test == "cfg" else f"data['test'] = {test}\n"
    config = tiny.config(f"scored_{name}", extra=extra)
    out = [str(folder / f"{name}.{kind}") for kind in ("json", "pkl")]
    assert (
        main([config, str(checkpoints / "plain.pth"), "--json", out[0], "--out", out[1], *more])
        == 0
    )
    scores = json.loads((folder / f"{name}.json").read_text())["metrics"]
    results = pickle.loads((folder / f"{name}.pkl").read_bytes())
    dataset = mmdet.datasets.build_dataset(load.load_config(config).data.test)
    return scores, lambda **options: numbers(dataset.evaluate(results, **options))


def numbers(found):
    return {key: float(value) for key, value in found.items() if not isinstance(value, str)}


HOOK = "interval=2, start=1, save_best='auto', rule='greater', by_epoch=False, tmpdir='x', "


def test_options_of_evaluation_are_the_datasets(tiny, checkpoints, tmp_path):
    """As in training: all that are not the hook's. --eval changes the metric alone."""
    options = dict(iou_thrs=[0.5], metric_items=["mAP", "mAP_s"], classwise=True)
    text = HOOK + "metric='bbox', " + ", ".join(f"{k}={v!r}" for k, v in options.items())
    scores, stock = scored(tiny, checkpoints, tmp_path, "coco", text)
    assert scores == stock(metric="bbox", **options) and set(scores) == {"bbox_mAP", "bbox_mAP_s"}
    assert scores["bbox_mAP"] != stock(metric="bbox")["bbox_mAP"]
    text = HOOK + "metric='bbox', proposal_nums=(1, 2, 3)"
    scores, stock = scored(tiny, checkpoints, tmp_path, "ar", text, "--eval", "proposal")
    assert scores == stock(metric="proposal", proposal_nums=(1, 2, 3))
    assert "AR@100" in scores and not [key for key in scores if "mAP" in key]
    assert scores != stock(metric="proposal")


def test_scores_have_the_names_of_their_dataset(tiny, checkpoints, tmp_path):
    """A dataset whose metric is mAP has no mAP_mAP; without a metric it takes its own."""
    annotations = json.loads((tiny.root / "ann.json").read_text())
    infos = []
    for image in annotations["images"]:
        found = [a for a in annotations["annotations"] if a["image_id"] == image["id"]]
        boxes = np.array([a["bbox"] for a in found], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        ann = dict(bboxes=boxes, labels=np.array([a["category_id"] - 1 for a in found]))
        infos.append(dict(filename=image["file_name"], width=64, height=64, ann=ann))
    (tmp_path / "infos.pkl").write_bytes(pickle.dumps(infos))
    test = (
        f"dict(type='CustomDataset', ann_file={str(tmp_path / 'infos.pkl')!r}, classes=classes, "
        f"img_prefix='{tiny.root}/images', pipeline=test_pipeline, test_mode=True)"
    )
    text = HOOK + "metric='mAP', iou_thr=[0.3, 0.75]"
    scores, stock = scored(tiny, checkpoints, tmp_path, "map", text, test=test)
    assert scores == stock(metric="mAP", iou_thr=[0.3, 0.75])
    assert set(scores) == {"mAP", "AP30", "AP75"}
    scores, stock = scored(tiny, checkpoints, tmp_path, "default", "interval=1", test=test)
    assert scores == stock() and set(scores) == {"mAP", "AP50"}


def test_parts_of_a_concatenation(tiny, checkpoints, tmp_path, capsys):
    one = "data['test']"
    test = f"[{one}, dict({one}, classes=('light', 'dark'))]"
    scores, stock = scored(tiny, checkpoints, tmp_path, "parts", "metric='bbox'", test=test)
    assert scores == stock(metric="bbox")
    assert {"0_bbox_mAP", "1_bbox_mAP"} <= set(scores) and "bbox_mAP" not in scores
    more = ["--cfg-options", "model.test_cfg.score_thr=2.0"]
    capsys.readouterr()
    scores, _ = scored(tiny, checkpoints, tmp_path, "none", "metric='bbox'", *more, test=test)
    assert scores == {"0_bbox_mAP": 0.0, "1_bbox_mAP": 0.0}
    assert "1_bbox_mAP is 0: nothing was detected" in capsys.readouterr().out


def test_no_score_is_invented(tiny):
    """But CocoDataset's own mAP of boxes and masks, where it returned none of that metric's."""
    from mmdet.datasets import CocoDataset

    class Other(CocoDataset):
        def evaluate(self, results, metric="bbox", logger=None, **kwargs):
            return {}

    cfg = load.load_config(tiny.config("invented")).data.test
    cfg.pop("type")
    coco, other = CocoDataset(**cfg, test_mode=True), Other(**cfg, test_mode=True)
    both = dict(metric=["bbox", "segm"])
    assert metrics.nothing_detected(coco, {}, both) == ["bbox_mAP", "segm_mAP"]
    assert metrics.nothing_detected(coco, {"bbox_mAP_50": 0.5}, both) == ["segm_mAP"]
    assert metrics.nothing_detected(coco, {}, {}) == ["bbox_mAP"]  # its default
    assert metrics.nothing_detected(coco, {}, dict(metric="proposal")) == []
    assert metrics.nothing_detected(other, {}, both) == []
    together = mmdet.datasets.ConcatDataset([coco, other])
    assert metrics.nothing_detected(together, {}, both) == ["0_bbox_mAP", "0_segm_mAP"]
    coco.coco.anns = {}  # COCO's own value without annotations is -1
    assert metrics.nothing_detected(coco, {}, both) == []


def test_which_options_are_the_hooks():
    hooks = metrics.hook_arguments()
    assert hooks >= set(
        "interval start by_epoch save_best rule test_fn greater_keys less_keys out_dir tmpdir "
        "file_client_args gpu_collect broadcast_bn_buffer dynamic_intervals pre_eval "
        "efficient_test".split()
    )
    assert not hooks & set(
        "metric iou_thr iou_thrs classwise proposal_nums metric_items jsonfile_prefix "
        "outfile_prefix imgfile_prefix scale_ranges use_group_of nproc dataloader results".split()
    )


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        ("dict(metric='bbox', iou_thr=0.5)", "evaluation.iou_thr: .*nearest is iou_thrs"),
        ("dict(metrik='bbox')", "evaluation.metrik: .*nearest is metric"),
        ("dict(metric='bbox', logger=None)", "evaluation.logger: "),
        ("'bbox'", "evaluation: expected a dict, .*got 'bbox'"),
        ("['bbox']", r"evaluation: expected a dict, .*got \['bbox'\]"),
        ("dict(metric='mAP')", "evaluation.metric: CocoDataset says: metric mAP is not supported"),
        ("dict(metric='segm')", "segm is not in results"),
        ("dict(metric=3)", "metric 3 is not supported"),
        ("dict(iou_thrs=0.5)", "refuses the options {'iou_thrs': 0.5}"),
        ("dict(metric='bbox', metric_items=['mAP_5'])", "mAP_5 is not supported"),
    ],
)
def test_wrong_options_are_named(tiny, checkpoints, capsys, evaluation, words):
    config = tiny.config("wrong_options", extra=f"evaluation = {evaluation}\n")
    assert main([config, str(checkpoints / "plain.pth")]) == 1
    assert re.search(words, capsys.readouterr().err)


def test_options_without_effect_are_said(tiny, checkpoints, capsys, tmp_path):
    """mmseg's evaluate, and others with **kwargs, take any option."""

    class Any(mmdet.datasets.CocoDataset):
        def evaluate(self, results, **kwargs):
            kwargs.pop("typo", None)
            return super().evaluate(results, **kwargs)

    cfg = load.load_config(tiny.config("any")).data.test
    cfg.pop("type")
    dataset = Any(**cfg, test_mode=True)
    assert metrics.check_options(dataset, dict(typo=1, iou_thrs=[0.5])) == ["typo"]
    with pytest.raises(ConfigError, match="evaluation.logger"):
        metrics.check_options(dataset, dict(logger=None))


def test_checkpoint_of_another_model_is_an_error(tiny, checkpoints, capsys):
    assert run(tiny, "plain", checkpoints / "distill.pth") == 1
    error = capsys.readouterr().err
    assert "holds 0 of the model's" in error and "(0%)" in error
    assert "backbone.conv1.weight" in error and "convert_kd_ckpt_to_student.py" in error


def test_the_student_alone_by_the_config_of_its_pair(tiny, checkpoints, tmp_path):
    """A baseline (--student-only) and an exported student need no config of their own."""
    scores = []
    for config in ("plain", "distill"):
        path = tmp_path / f"{config}.json"
        assert run(tiny, config, checkpoints / "plain.pth", "--json", str(path)) == 0
        scores.append(json.loads(path.read_text())["metrics"])
    assert scores[0] == scores[1] != {}


def test_missing_weights_are_an_error_unless_allowed(tiny, checkpoints, tmp_path, capsys):
    content = torch.load(str(checkpoints / "plain.pth"), weights_only=True)
    keys = [key for key in content["state_dict"] if key.startswith("bbox_head.")]
    for key in keys:
        del content["state_dict"][key]
    path = tmp_path / "part.pth"
    torch.save(content, path)
    assert run(tiny, "plain", path) == 1
    error = capsys.readouterr().err
    assert "bbox_head.cls_convs.0.conv.weight" in error and "--allow-missing" in error
    assert run(tiny, "plain", path, "--allow-missing") == 0
    assert f"warning: {len(keys)} weights are missing" in capsys.readouterr().out
    torch.save({"meta": {}}, path)
    assert run(tiny, "plain", path) == 1
    assert "found a dict without" in capsys.readouterr().err
    torch.save([1], path)
    assert run(tiny, "plain", path) == 1
    assert "found a list without" in capsys.readouterr().err
    assert run(tiny, "plain", tmp_path / "no.pth") == 1
    assert "Expected a checkpoint at" in capsys.readouterr().err


def test_other_shapes_are_an_error(tiny, checkpoints, capsys):
    options = ["--cfg-options", "model.bbox_head.feat_channels=16"]
    assert run(tiny, "plain", checkpoints / "plain.pth", *options) == 1
    error = capsys.readouterr().err
    assert "does not fit the model" in error and "size mismatch for bbox_head" in error
