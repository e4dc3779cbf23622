"""The same entries train, resume, test and convert a segmentation pair."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from freekd.convert.student import convert_student
from freekd.engine.test import main as evaluate
from freekd.engine.train import main as train

CONFIG = """
norm = dict(mean=[127.0] * 3, std=[64.0] * 3, to_rgb=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="Resize", img_scale=(64, 64), ratio_range=(0.8, 1.5)),
    dict(type="RandomCrop", crop_size=(48, 48), cat_max_ratio=0.9),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="Normalize", **norm),
    dict(type="Pad", size=(48, 48), pad_val=0, seg_pad_val=255),
    dict(type="DefaultFormatBundle"),
    dict(type="Collect", keys=["img", "gt_semantic_seg"]),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="MultiScaleFlipAug", img_scale=(64, 64), flip=False, transforms=[
        dict(type="Resize", keep_ratio=True),
        dict(type="RandomFlip"),
        dict(type="Normalize", **norm),
        dict(type="ImageToTensor", keys=["img"]),
        dict(type="Collect", keys=["img"]),
    ]),
]
common = dict(type="CustomDataset", data_root="{root}", img_dir="images", ann_dir="labels",
              img_suffix=".png", seg_map_suffix=".png", classes=("back", "dark", "light"),
              palette=[[0, 0, 0], [255, 0, 0], [0, 255, 0]])
data = dict(samples_per_gpu=2, workers_per_gpu=0, train=dict(pipeline=train_pipeline, **common),
            val=dict(pipeline=test_pipeline, **common),
            test=dict(pipeline=test_pipeline, **common))
student = dict(
    type="{scope}EncoderDecoder",
    backbone=dict(type="ResNetV1c", depth=18, base_channels=8, num_stages=4,
                  out_indices=(0, 1, 2, 3), strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4),
                  norm_cfg=dict(type="SyncBN", requires_grad=True), contract_dilation=True),
    decode_head=dict(type="FCNHead", in_channels=64, in_index=3, channels=8, num_convs=1,
                     dropout_ratio=0.5, num_classes=3, norm_cfg=dict(type="SyncBN"),
                     align_corners=False, loss_decode=dict(type="CrossEntropyLoss")),
    train_cfg=dict(), test_cfg=dict(mode="whole"),
)
optimizer = dict(type="SGD", lr=0.01, momentum=0.9)
lr_config = dict(policy="poly", power=0.9, min_lr=1e-4, by_epoch=False)
runner = dict(type="IterBasedRunner", max_iters=4)
checkpoint_config = dict(interval=2)
evaluation = dict(metric="mIoU", interval=1000, save_best="mIoU")
log_level = "WARNING"
"""

PLAIN = "model = student\n"
DISTILL = """
algorithm = dict(
    type="GeneralDistill",
    architecture=dict(type="MMSegArchitecture", model=student),
    distiller=dict(type="SingleTeacherDistiller", teacher=student, components=[
        dict(student_module="decode_head.conv_seg", teacher_module="decode_head.conv_seg",
             losses=[dict(type="ChannelWiseDivergence", name="loss_cwd", tau=1, loss_weight=3)])
    ]),
)
"""


@pytest.fixture(scope="module")
def seg(tmp_path_factory):
    root = tmp_path_factory.mktemp("seg")
    rng = np.random.RandomState(0)
    for name in ("images", "labels"):
        (root / name).mkdir()
    for number in range(5):
        label = np.zeros((64, 64), dtype=np.uint8)
        for kind in (1, 2):
            x, y = rng.randint(0, 32, 2)
            label[y : y + 24, x : x + 24] = kind
        picture = np.array([128, 0, 255])[label][..., None].repeat(3, 2) + rng.randint(-9, 9)
        cv2.imwrite(str(root / "images" / f"{number}.png"), picture.clip(0, 255))
        cv2.imwrite(str(root / "labels" / f"{number}.png"), label)
    text = CONFIG.replace("{root}", str(root))
    (root / "plain.py").write_text(text.replace("{scope}", "") + PLAIN)
    (root / "distill.py").write_text(text.replace("{scope}", "mmseg.") + DISTILL)
    return root


def test_segmentation_pair(seg, tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    args = [str(seg / "distill.py"), "--seed", "1", "--device", "cpu", "--work-dir"]
    assert train([*args, str(whole)]) == 0  # dropout and SyncBN on the CPU, evaluated at end
    parts.mkdir()
    (parts / "iter_2.pth").write_bytes((whole / "iter_2.pth").read_bytes())
    assert train([*args, str(parts), "--auto-resume", "--no-validate"]) == 0
    states = [
        torch.load(str(folder / "iter_4.pth"), weights_only=True)["state_dict"]
        for folder in (whole, parts)
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    best = list(Path(whole).glob("best_mIoU_*.pth"))
    assert len(best) == 1  # its meta holds the score as numpy.float64

    student = tmp_path / "student.pth"
    convert_student(str(whole / "latest.pth"), str(student))
    scores = []
    for config, checkpoint in (("distill", whole / "latest.pth"), ("plain", student)):
        file = tmp_path / f"{config}.json"
        assert evaluate([str(seg / f"{config}.py"), str(checkpoint), "--json", str(file)]) == 0
        record = json.loads(file.read_text())
        assert record["task"] == "seg" and record["images"] == 5
        scores.append(record["metrics"])
    assert scores[0] == scores[1] and 0 < scores[0]["mIoU"] < 1
    assert evaluate([str(seg / "distill.py"), str(best[0])]) == 0
    assert "mIoU:" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_train_and_evaluate(seg, tmp_path):
    """``dist_train.sh`` and ``dist_test.sh``: 5 images in 2 processes score as in one."""
    root = Path(__file__).resolve().parents[2]
    variables = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    work, config = tmp_path / "work", str(seg / "distill.py")
    options = ["--seed", "1", "--device", "cpu", "--work-dir", str(work)]
    checkpoint, files = work / "latest.pth", [str(tmp_path / f"{n}.json") for n in (1, 2)]
    test = ["tools/dist_test.sh", config, str(checkpoint), "2", "--device", "cpu"]
    for command in (
        ["tools/dist_train.sh", config, "2", *options],
        [*test, "--json", files[1]],
    ):
        done = subprocess.run(
            ["bash", *command], cwd=str(root), env=variables, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert len(list(work.glob("best_mIoU_*.pth"))) == 1  # evaluated in training
    assert evaluate([config, str(checkpoint), "--device", "cpu", "--json", files[0]]) == 0
    one, two = (json.loads(Path(file).read_text()) for file in files)
    assert one["metrics"] == two["metrics"] and one["images"] == two["images"] == 5
