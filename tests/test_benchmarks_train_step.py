"""The benchmark of a training step runs, and its figures agree with each other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAIR = "configs/freekd/retinanet_r34_r18_digits_paper.py"


def run(tmp_path, *options, config=PAIR):
    out = tmp_path / "step.json"
    command = [
        sys.executable, "benchmarks/train_step.py", config, "--device", "cpu", "--size", "64x64",
        "--batch", "2", "--steps", "2", "--warmup", "1", "--json", str(out), *options,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text()), done.stdout


def test_the_parts_of_a_step(tmp_path):
    found, text = run(tmp_path, "--cfg-options", "pair.losses.mimic.loss_weight=1.0")
    rows = {row["variant"]: row for row in found["rows"]}
    terms = ["+ loss_freekd", "+ loss_mimic", "+ loss_cwd"]
    expected = ["student", "student + teacher", *terms, "all terms of the config"]
    assert [name for name in rows if name != "+ loss_direct"] == expected
    assert list(found["size"]) == [64, 64] and found["batch"] == found["steps"] == 2
    assert {"processor", "threads", "versions", "commit"} <= set(found["machine"])
    base = rows["student + teacher"]
    assert base["added_ms"] == base["extra_bytes"] == 0
    for name, row in rows.items():
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"]
        share, percent = row["share_percent"], row["added_percent"]
        assert share == pytest.approx(100 * row["added_ms"] / row["median_ms"])
        assert percent == pytest.approx(100 * row["added_ms"] / base["median_ms"])
        # a difference of times of two rounds lies between those of their ends
        assert row["added_ms"] <= row["max_ms"] - base["min_ms"]
        assert row["added_ms"] >= row["min_ms"] - base["max_ms"]
        assert row["extra_bytes"] == row["peak_bytes"] - base["peak_bytes"]
        assert row["peak_bytes"] > 2 * 3 * 64 * 64 * 4 * 16  # the first layer's maps at least
        assert (row["alone_ms"] is None) == (not name.startswith("+"))
    for name in terms:  # a term needs its gradient with respect to each map: 64 channels, 8x8 + ...
        assert rows[name]["alone_ms"] > 0
        assert rows[name]["alone_bytes"] >= 2 * 64 * (8 * 8 + 4 * 4 + 2 * 2) * 4
        assert name in text
    assert "FreeKD's share of the whole step" in text and "torch " in text


def test_the_teacher_part_by_part(tmp_path):
    config = tmp_path / "pair.py"
    lines = [
        f"_base_ = [{str(ROOT / PAIR)!r}]",
        "pair = dict(losses=dict(regression=dict(module='bbox_head.retina_reg')))",
    ]
    config.write_text("\n".join(lines))
    found, text = run(tmp_path, "--teacher", config=str(config))
    names = [row["variant"] for row in found["rows"]]
    assert names == [
        "whole forward with losses",
        "tapped heads whole, no losses",
        "as far as the taps",
        "as far as the taps, inference mode",
        "as far as the taps, inference mode, taps cloned",
        "as far as the taps, bfloat16 autocast",
    ]
    assert found["rows"][2]["more_ms"] == 0
    ran, of = found["layers"]["whole"]
    fewer, same = found["layers"]["taps"]
    assert ran == of == same and ran - fewer == 2 * 2 + 1  # two convolutions, norms, retina_cls
    assert set(found["inference"]) == {"loss_freekd", "loss_regression", "loss_cwd"}
    for said in found["inference"].values():
        assert said == "works" or said.startswith("Inference tensors cannot be saved")
    for value in found["autocast"]["bfloat16"].values():
        assert 0 < value < 0.2
    assert "as far as the taps" in text


def test_it_wants_a_pair_and_a_size(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import pair

    from freekd.config.load import load_config

    plain = load_config(str(ROOT / "configs/baseline/retinanet_r18_digits.py"))
    with pytest.raises(SystemExit, match="expected a pair config"):
        pair.prepared(plain, "", None, None)
    assert pair.image_size(plain, None) == (128, 128)
    assert pair.image_size(plain, "64x96") == (64, 96)
    with pytest.raises(SystemExit, match="--size: expected HxW"):
        pair.image_size(plain, "64")
    coco = load_config(str(ROOT / "configs/freekd/retinanet_r101_r50_coco.py"))
    assert pair.image_size(coco, None) == (800, 1344)
