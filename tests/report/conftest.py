"""Work folders as training leaves them, written here in a second instead of trained."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from freekd.visualization import draw_feature_maps, draw_prompt_mask_levels

sys.path.insert(0, str(Path(__file__).parent))  # report_page.py

CONFIG = """
data = dict(
    val=dict(type='CocoDataset', ann_file='{data}/annotations/val.json', img_prefix='{data}/val/'))
runner = dict(type='EpochBasedRunner', max_epochs=2)
"""
ENV = "Python: 3.11.7 (main)\nPyTorch: 2.11.0+cu130\nMMCV: 1.7.2\n"
PREFIX = {"baseline": ""}  # a student alone logs its losses without 'student.'


def write_run(folder, seed=0, score=0.5, method="freekd", data="data/digits", checkpoint=True):
    """Four logged steps of two epochs of 20, an evaluation after each, a checkpoint of 3 bytes."""
    folder.mkdir(parents=True)
    head = {"env_info": ENV, "seed": seed, "exp_name": "pair.py", "iters_per_epoch": 20}
    lines = [{**head, "config": CONFIG.format(data=data)}]
    prefix = PREFIX.get(method, "student.")
    for epoch in (1, 2):
        for step in (10, 20):
            at = (epoch - 1) * 20 + step
            line = {"mode": "train", "epoch": epoch, "iter": step, "lr": 0.01, "time": 0.1}
            line[f"{prefix}loss_cls"] = round(8.0 / at + 0.01 * seed, 5)
            if method != "baseline":
                line[f"distiller.loss_{method}.0"] = round(1000.0 / at, 5)
                line[f"ratio.{method}"] = round(at / 7.0, 5)
            lines.append({**line, "loss": round(10.0 / at, 5)})
        share = score * epoch / 2
        scores = {"bbox_mAP": round(share, 4), "bbox_mAP_50": round(share + 0.1, 4)}
        lines.append({"mode": "val", "epoch": epoch, "iter": 4, "lr": 0.01, **scores})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "20260101_000000.log.json").write_text(text)
    (folder / "pair.py").write_text("# the config that the run left\n")
    if checkpoint:
        (folder / "epoch_2.pth").write_bytes(b"pth")
        (folder / "latest.pth").symlink_to("epoch_2.pth")
    return folder


SCORES = {"baseline": {0: 0.5, 1: 0.52}, "freekd": {0: 0.68, 1: 0.7}}
LABELS = {"baseline": "student alone", "freekd": "FreeKD"}


def write_pictures(folder, names=("teacher", "student alone", "FreeKD")):
    image = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    rng = np.random.default_rng(0)
    for number in range(2):
        feats = {name: rng.normal(size=(4, 8, 8)) for name in names}
        draw_feature_maps(image, feats, folder / f"features_abs_{number}.png", absolute=True)
        masks = {"P3": {name: rng.random((2, 4, 4)) for name in ("LL1", "LH1", "HL1", "HH1")}}
        draw_prompt_mask_levels(image, masks, folder / f"mask_sums_{number}.png")


def write_study(folder):
    runs, rows = [], []
    for row, scores in SCORES.items():
        for seed, score in scores.items():
            runs.append(
                dict(row=row, label=LABELS[row], seed=seed, status="done", metric="bbox_mAP",
                     metrics={"bbox_mAP": score}, seconds=90.0, step_ms=120.0, error=None,
                     work_dir=f"work_dirs/elsewhere/seed{seed}/{row}", command="python train")
            )  # fmt: skip
        rows.append(
            dict(row=row, label=LABELS[row], mean=sum(scores.values()) / 2, std=0.0141, n=2,
                 step_ms=120.0, command=f"python tools/train.py {row}.py",
                 gain=0.18 if row == "freekd" else None, gain_low=0.15, gain_high=0.21)
        )  # fmt: skip
    failed = dict(runs[-1], seed=2, status="failed", metrics={}, error="trace\nout of memory")
    content = dict(kind="study", name="digits", baseline="baseline", rows=rows,
                   runs=[*runs, failed], versions={"torch": "2.11.0"}, machine="a small one",
                   command="python tools/study.py digits.py")  # fmt: skip
    (folder / "study.json").write_text(json.dumps(content))


def write_analyses(folder):
    folder.mkdir()
    common = dict(versions={}, pictures=["robustness.png"], task="det")
    robustness = dict(
        common, kind="robustness", metric="bbox_mAP", data="val.json", corruptions=["fog", "snow"],
        severities=[1, 2], command="python tools/analysis/robustness.py",
        models=[dict(name="FreeKD", config="", checkpoint="", clean=0.6825, mPC=0.25, rPC=0.3663,
                     scores={"fog": {"1": 0.4, "2": 0.2}, "snow": {"1": 0.3, "2": 0.1}})],
    )  # fmt: skip
    confusion = dict(
        common, kind="confusion", classes=["a", "b", "background"], iou_thr=0.5, score_thr=0.3,
        models=[dict(name="FreeKD", checkpoint="", matrix=[[7, 1, 0], [2, 9, 1], [3, 0, 0]])],
    )  # fmt: skip
    errors = dict(
        common, kind="errors", pictures=["../features.png", "gone.png"],
        models=[dict(name="FreeKD", checkpoint="", AP=0.6825, by_size={"small": {"AP": 0.7}})],
    )  # fmt: skip
    for content in (robustness, confusion, errors):
        (folder / f"{content['kind']}.json").write_text(json.dumps(content))
    from PIL import Image

    Image.new("RGB", (300, 100), "white").save(folder / "robustness.png")
    Image.new("RGB", (30, 10), "red").save(folder.parent / "features.png")  # not beside errors.json


@pytest.fixture
def new_run():
    return write_run


@pytest.fixture
def work(made_once, tmp_path):
    """A study of two rows and two seeds below one folder, with pictures and analyses."""
    return Path(shutil.copytree(made_once, tmp_path / "digits", symlinks=True))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """What :func:`work` copies: not to be written to."""
    folder = tmp_path_factory.mktemp("made") / "digits"
    for row, scores in SCORES.items():
        for seed, score in scores.items():
            write_run(folder / f"seed{seed}" / row, seed, score, row)
    write_run(folder / "teacher", 0, 0.75, "baseline")
    write_pictures(folder / "pictures")
    write_study(folder)
    write_analyses(folder / "analysis")
    return folder
