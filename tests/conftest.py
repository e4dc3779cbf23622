"""A detection set of a few 64x64 images and a RetinaNet-R18 small enough for tests."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

REPO = Path(__file__).resolve().parents[1]
CLASSES = ("dark", "light")

CONFIG = """
classes = ("dark", "light")
img_norm = dict(mean=[127.0, 127.0, 127.0], std=[64.0, 64.0, 64.0], to_rgb=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", img_scale=[(64, 64), (72, 72)], multiscale_mode="range", keep_ratio=True),
    dict(type="RandomFlip", flip_ratio=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="Normalize", **img_norm),
    dict(type="Pad", size_divisor=32),
    dict(type="DefaultFormatBundle"),
    dict(type="Collect", keys=["img", "gt_bboxes", "gt_labels"]),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="MultiScaleFlipAug",
        img_scale=(64, 64),
        flip=False,
        transforms=[
            dict(type="Resize", keep_ratio=True),
            dict(type="RandomFlip"),
            dict(type="Normalize", **img_norm),
            dict(type="Pad", size_divisor=32),
            dict(type="ImageToTensor", keys=["img"]),
            dict(type="Collect", keys=["img"]),
        ],
    ),
]
data = dict(
    samples_per_gpu=2,
    workers_per_gpu=0,
    train=dict(type="CocoDataset", ann_file="{root}/ann.json", img_prefix="{root}/images",
               classes=classes, pipeline=train_pipeline),
    val=dict(type="CocoDataset", ann_file="{root}/ann.json", img_prefix="{root}/images",
             classes=classes, pipeline=test_pipeline),
    test=dict(type="CocoDataset", ann_file="{root}/ann.json", img_prefix="{root}/images",
              classes=classes, pipeline=test_pipeline),
)
norm_cfg = dict(type="{norm}", requires_grad=True{groups})
model = dict(
    type="RetinaNet",
    backbone=dict(type="ResNet", depth=18, base_channels=8, num_stages=4, out_indices=(1, 2, 3),
                  frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, style="pytorch"),
    neck=dict(type="FPN", in_channels=[16, 32, 64], out_channels=8, num_outs=3),
    bbox_head=dict(
        type="RetinaHead", num_classes=2, in_channels=8, stacked_convs=1, feat_channels=8,
        anchor_generator=dict(type="AnchorGenerator", octave_base_scale=3, scales_per_octave=1,
                              ratios=[1.0], strides=[8, 16, 32]),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4,
                        target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    ),
    train_cfg=dict(
        assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0,
                      ignore_iof_thr=-1),
        allowed_border=-1, pos_weight=-1, debug=False,
    ),
    test_cfg=dict(nms_pre=100, min_bbox_size=0, score_thr=0.05,
                  nms=dict(type="nms", iou_threshold=0.5), max_per_img=20),
)
optimizer = dict(type="AdamW", lr=1e-3, weight_decay=1e-2)
optimizer_config = dict(grad_clip=dict(max_norm=10, norm_type=2))
evaluation = dict(metric="bbox")
log_config = dict(interval=2, hooks=[dict(type="TextLoggerHook")])
log_level = "WARNING"
"""

EPOCHS = """
lr_config = dict(policy="CosineAnnealing", min_lr=0, warmup="linear", warmup_iters=3,
                 warmup_ratio=0.1)
runner = dict(type="EpochBasedRunner", max_epochs=2)
checkpoint_config = dict(interval=1)
"""

ITERATIONS = """
lr_config = dict(policy="CosineAnnealing", min_lr=0, warmup="linear", warmup_iters=3,
                 warmup_ratio=0.1, by_epoch=False)
runner = dict(type="IterBasedRunner", max_iters=6)
checkpoint_config = dict(interval=3)
evaluation = dict(metric="bbox", interval=1000)
"""

DISTILL = """
student = dict(model, type="mmdet.RetinaNet")
teacher = student
model = None
algorithm = dict(
    type="GeneralDistill",
    architecture=dict(type="MMDetArchitecture", model=student),
    distiller=dict(
        type="SingleTeacherDistiller",
        teacher=teacher,
        teacher_trainable=False,
        components=[
            dict(
                student_module="neck.fpn_convs.0.conv",
                teacher_module="neck.fpn_convs.0.conv",
                losses=[dict(type="ChannelWiseDivergence", name="loss_cwd", tau=1,
                             loss_weight=1.0)],
            )
        ],
    ),
)
find_unused_parameters = True
"""


# Both stages. Images of one size (a batch is padded to its largest image) and, with norm="GN", no
# batch statistics: then the mean over two processes is the mean over the whole batch. FCOS divides
# its loss by the number of positives of all processes.
FCOS = """
classes = ("dark", "light")
fcos = dict(
    type="mmdet.FCOS", backbone=model["backbone"], neck=model["neck"],
    bbox_head=dict(
        type="FCOSHead", num_classes=2, in_channels=8, stacked_convs=1, feat_channels=8,
        strides=[8, 16, 32], regress_ranges=((-1, 24), (24, 48), (48, 1e8)), norm_cfg=norm_cfg,
    ),
    test_cfg=dict(model["test_cfg"], score_thr=0.0),
)
model = None
train_pipeline[2] = dict(type="Resize", img_scale=(64, 64), keep_ratio=True)
data["train"]["pipeline"] = train_pipeline
optimizer = dict(type="SGD", lr=0.05)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy="fixed")
runner = dict(type="IterBasedRunner", max_iters=3)
checkpoint_config = dict(interval=1)
evaluation = dict(metric="bbox", interval=3)
custom_imports = dict(imports=["freekd.distill", "launch_probe"], allow_failed_imports=False)
custom_hooks = []
"""

STAGE_1 = """
algorithm = dict(
    type="FrequencyPromptFinetune",
    architecture=dict(
        type="FrequencyPromptTeacher", model=fcos, checkpoint="{folder}/teacher.pth",
        module="neck", channels=8, num_levels=3, num_prompts=2,
    ),
)
"""

STAGE_2 = """
algorithm = dict(
    type="FreeKDDistill",
    architecture=dict(type="MMDetArchitecture", model=fcos),
    distiller=dict(
        type="FreeKDDistiller", teacher=fcos, teacher_checkpoint="{folder}/teacher.pth",
        components=[dict(student_module="neck", teacher_module="neck", losses=[
            dict(type="FreeKDLoss", name="loss_freekd", student_channels=8, teacher_channels=8,
                 num_levels=3, num_prompts=2, align="conv1x1", prompts="{folder}/prompts.pth"),
        ])],
    ),
)
"""


def _write_dataset(root: Path, count: int = 7) -> None:
    import cv2

    rng = np.random.RandomState(0)
    (root / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        picture = rng.randint(90, 160, (64, 64, 3), dtype=np.uint8)
        for _ in range(1 + number % 2):
            kind = int(rng.randint(2))
            x, y = rng.randint(0, 32, 2).tolist()
            w, h = rng.randint(18, 30, 2).tolist()
            picture[y : y + h, x : x + w] = 255 * kind
            annotations.append(
                dict(id=len(annotations) + 1, image_id=number, category_id=kind + 1,
                     bbox=[x, y, w, h], area=w * h, iscrowd=0)
            )  # fmt: skip
        name = f"{number}.png"
        cv2.imwrite(str(root / "images" / name), picture)
        images.append(dict(id=number, file_name=name, width=64, height=64))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
    (root / "ann.json").write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folder of the data, and ``tiny.config(name, ...)``, which writes a config file."""
    root = tmp_path_factory.mktemp("tiny")
    _write_dataset(root)

    def config(
        name: str, kind: str = "epochs", distill: bool = False, norm: str = "BN", extra: str = ""
    ) -> str:
        groups = ", num_groups=4" if norm == "GN" else ""
        text = CONFIG.replace("{root}", str(root)).replace("{norm}", norm)
        text = text.replace("{groups}", groups)
        text += EPOCHS if kind == "epochs" else ITERATIONS
        if distill:
            text += DISTILL
        path = root / f"{name}.py"
        path.write_text(text + extra)
        return str(path)

    return SimpleNamespace(root=root, config=config, count=7)


@pytest.fixture(scope="session")
def stage(tiny, tmp_path_factory):
    """``stage(1 or 2, name, extra, norm)``: the path of a config of that stage, ready to run."""
    folder = tmp_path_factory.mktemp("stages")

    def write(number: int, name: str, extra: str = "", norm: str = "GN") -> str:
        if name != "make" and not (folder / norm / "prompts.pth").exists():
            (folder / norm).mkdir(exist_ok=True)  # it is there after a test that could not build
            _make_teacher(write(1, "make", norm=norm), folder / norm)
        text = FCOS + (STAGE_1 if number == 1 else STAGE_2)
        text = text.replace("{folder}", str(folder / norm))
        return tiny.config(f"{name}_{number}", "iterations", norm=norm, extra=text + extra)

    write.folder = folder
    return write


def _make_teacher(config: str, folder: Path) -> None:
    """A teacher of random weights, and prompts that differ between bands and places."""
    from freekd.config import load
    from freekd.engine import build

    cfg = load.load_config(config)
    torch.manual_seed(1)
    algorithm = build.build_model(cfg, "det")
    teacher = algorithm.architecture
    torch.save(dict(state_dict=teacher.model.state_dict()), str(folder / "teacher.pth"))
    for parameter in teacher.prompts.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    algorithm.save_prompts(str(folder / "prompts.pth"))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def gpus_as_before():
    """A test with ``--device cpu`` hides the GPUs of its whole process: not from the next test.

    Else torch would count none, say that CUDA is available all the same, and fail to scatter.
    """
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    yield
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if before is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = before


@pytest.fixture
def logged(monkeypatch):
    """Lines that ``print_log`` of these modules was given, whatever ran before set a logger to."""
    lines = []

    def note(*modules: str):
        for module in modules:
            monkeypatch.setattr(f"{module}.print_log", lambda text, *_, **__: lines.append(text))
        return lines

    return note


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """mmcv's runner waits a second for nothing at its end."""
    from mmcv.runner import iter_based_runner

    time = SimpleNamespace(sleep=lambda _: None, time=iter_based_runner.time.time)
    monkeypatch.setattr(iter_based_runner, "time", time)


@pytest.fixture
def run_python():
    """Run Python with this repository on the path; returns the completed process."""

    def run(*args: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = dict(os.environ, PYTHONPATH=str(REPO), OMP_NUM_THREADS="1", **variables)
        return subprocess.run(
            [sys.executable, *args], cwd=str(REPO), env=environment, timeout=300,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
        )  # fmt: skip

    return run
