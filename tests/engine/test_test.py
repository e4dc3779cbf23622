"""Testing: metrics, json, and checkpoints that do not fill the model."""

import json
import pickle

import pytest
import torch

from freekd import compat

compat.apply()

from freekd.engine import setup  # noqa: E402
from freekd.engine.convert import convert_student  # noqa: E402
from freekd.engine.test import main  # noqa: E402


@pytest.fixture(scope="module")
def checkpoints(tiny, tmp_path_factory):
    """Of a plain model and of a distillation, with random weights."""
    from mmcv.runner import save_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for name in ("plain", "distill"):
        cfg = setup.load_config(tiny.config(f"test_{name}", distill=name == "distill"))
        model = setup.build_model(cfg, "det")
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


def test_nothing_detected_is_a_score_of_zero(tiny, checkpoints, tmp_path):
    options = ["--cfg-options", "model.test_cfg.score_thr=2.0"]
    assert (
        run(tiny, "plain", checkpoints / "plain.pth", "--json", str(tmp_path / "a"), *options) == 0
    )
    assert json.loads((tmp_path / "a").read_text())["metrics"] == {"bbox_mAP": 0.0}


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
