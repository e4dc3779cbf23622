"""Classification by mmcls: trained, resumed, tested, distilled by its logits, and handed out."""

import copy
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from freekd import compat

compat.apply()

from freekd.config import load
from freekd.config.checks import check_config
from freekd.config.errors import ConfigError
from freekd.convert.onnx import main as export_onnx
from freekd.convert.student import convert_student
from freekd.doctor import main as doctor
from freekd.engine import build, check_data, datasets, metrics
from freekd.engine.test import main as evaluate
from freekd.engine.train import main as train
from freekd.zoo.stock import official_checkpoint, read_model

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("dark", "grey", "light")
CONFIG = """
norm = dict(mean=[127.0] * 3, std=[64.0] * 3, to_rgb=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomCrop", size=16, padding=2),
    dict(type="RandomFlip", flip_prob=0.5, direction="horizontal"),
    dict(type="Normalize", **norm),
    dict(type="ImageToTensor", keys=["img"]),
    dict(type="ToTensor", keys=["gt_label"]),
    dict(type="Collect", keys=["img", "gt_label"]),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Normalize", **norm),
    dict(type="ImageToTensor", keys=["img"]),
    dict(type="Collect", keys=["img"]),
]
common = dict(type="CustomDataset", data_prefix="{root}/images", classes={classes})
data = dict(samples_per_gpu=4, workers_per_gpu=0, train=dict(pipeline=train_pipeline, **common),
            val=dict(pipeline=test_pipeline, **common),
            test=dict(pipeline=test_pipeline, **common))
optimizer = dict(type="SGD", lr=0.05, momentum=0.9)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy="CosineAnnealing", min_lr=0)
runner = dict(type="EpochBasedRunner", max_epochs=2)
evaluation = dict(metric="accuracy", metric_options=dict(topk=(1, 2)), save_best="accuracy_top-1",
                  rule="greater")
log_config = dict(interval=1, hooks=[dict(type="TextLoggerHook")])
log_level = "WARNING"
student = dict(
    type="ImageClassifier",
    backbone=dict(type="ResNet_CIFAR", depth=18, stem_channels=4, base_channels=4),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=3, in_channels=32, topk=(1,), cal_acc=True,
              loss=dict(type="CrossEntropyLoss", loss_weight=1.0)),
)
"""
PLAIN = "model = student\n"
# a teacher of another width
PAIR = """
pair = dict(
    student=student, teacher=dict(
        student, backbone=dict(student["backbone"], stem_channels=8, base_channels=8),
        head=dict(student["head"], in_channels=64)),
    teacher_checkpoint="{root}/teacher.pth", losses=dict(kd=dict(tau=2.0, alpha=0.75)),
)
custom_hooks = [dict(type="EMAHook", momentum=0.1), dict(type="ClassNumCheckHook")]
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Five pictures for each of three classes, a teacher of random weights, and both configs."""
    folder = tmp_path_factory.mktemp("cls")
    random = np.random.RandomState(0)
    for label, name in enumerate(CLASSES):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(5):
            picture = (random.rand(16, 16, 3) * 60 + 90 * label).astype(np.uint8)
            cv2.imwrite(str(folder / "images" / name / f"{number}.png"), picture)
    for name, kind in (("plain", PLAIN), ("pair", PAIR)):
        write(folder, name, kind)
    torch.manual_seed(3)
    teacher = build_part(load.load_config(str(folder / "pair.py")).algorithm.distiller.teacher)
    torch.nn.init.normal_(teacher.head.fc.weight, std=0.5)  # so that it is sure of something
    torch.save(
        dict(state_dict=teacher.state_dict(), meta=dict(CLASSES=CLASSES)),
        str(folder / "teacher.pth"),
    )
    return folder


def write(folder, name, kind, extra=""):
    text = (CONFIG + kind).replace("{root}", str(folder)).replace("{classes}", repr(CLASSES))
    (folder / f"{name}.py").write_text(text + extra)
    return str(folder / f"{name}.py")


def build_part(cfg):
    from mmcls.models import build_classifier

    return build_classifier(read_model(copy.deepcopy(cfg), "model"))


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    """The pair trained in one go, and interrupted after its first epoch."""
    folder = tmp_path_factory.mktemp("runs")
    torch.set_num_threads(1)
    args = [str(root / "pair.py"), "--seed", "1", "--device", "cpu", "--work-dir"]
    assert train([*args, str(folder / "whole")]) == 0
    (folder / "parts").mkdir()
    first = (folder / "whole" / "epoch_1.pth").read_bytes()
    (folder / "parts" / "epoch_1.pth").write_bytes(first)
    assert train([*args, str(folder / "parts"), "--auto-resume", "--no-validate"]) == 0
    return folder


def weights(path):
    return torch.load(str(path), weights_only=True)["state_dict"]


# --------------------------------------------------------------------------- a run
def test_a_resumed_run_is_the_same_bit_for_bit(runs):
    states = [weights(runs / name / "epoch_2.pth") for name in ("whole", "parts")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    first = weights(runs / "whole" / "epoch_1.pth")
    name = "architecture.model.head.fc.weight"
    assert not torch.equal(first[name], states[0][name])
    assert not [name for name in states[0] if "teacher" in name]
    meta = torch.load(str(runs / "whole" / "epoch_2.pth"), weights_only=True)["meta"]
    assert tuple(meta["CLASSES"]) == CLASSES and meta["task"] == "cls"
    assert len(list((runs / "whole").glob("best_accuracy_top-1_*.pth"))) == 1


def test_the_student_alone_scores_and_answers_as_in_its_pair(root, runs, tmp_path, capsys):
    """Loaded strictly into stock mmcls, without any class of this project."""
    from mmcls.models import build_classifier

    whole, alone = runs / "whole" / "latest.pth", tmp_path / "student.pth"
    convert_student(str(whole), str(alone), check=str(root / "pair.py"))
    scores = []
    for config, checkpoint in (("pair", whole), ("plain", alone), ("pair", alone)):
        file = tmp_path / "scores.json"
        args = [str(root / f"{config}.py"), str(checkpoint), "--json", str(file), "--device", "cpu"]
        assert evaluate([*args, "--eval", "accuracy"]) == 0
        record = json.loads(file.read_text())
        assert record["task"] == "cls" and record["images"] == 15
        scores.append(record["metrics"])
    assert scores[0] == scores[1] == scores[2]
    assert set(scores[0]) == {"accuracy_top-1", "accuracy_top-2"}
    assert 0 <= scores[0]["accuracy_top-1"] <= scores[0]["accuracy_top-2"] <= 100
    assert "accuracy_top-1:" in capsys.readouterr().out

    cfg = load.load_config(str(root / "plain.py"))
    content = torch.load(str(alone), weights_only=True)
    stock = build_classifier(dict(cfg.model))
    stock.load_state_dict(content["state_dict"], strict=True)
    ours = build.build_model(load.load_config(str(root / "pair.py")), "cls")
    ours.load_state_dict(weights(whole), strict=False)
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        found = [m.eval()(images, return_loss=False, img_metas=None) for m in (stock, ours)]
    assert np.array_equal(found[0], found[1])
    assert tuple(content["meta"]["CLASSES"]) == CLASSES

    file = tmp_path / "ema.json"  # the averaged weights are others
    assert evaluate([str(root / "pair.py"), str(whole), "--ema", "--json", str(file)]) == 0
    assert set(json.loads(file.read_text())["metrics"]) == set(scores[0])


def test_the_baseline_has_the_pairs_data_and_first_weights(root, tmp_path):
    args = [str(root / "pair.py"), "--seed", "1", "--device", "cpu", "--no-validate"]
    options = ["--cfg-options", "runner.max_epochs=1", "custom_hooks=[]"]
    assert train([*args, "--student-only", "--work-dir", str(tmp_path), *options]) == 0
    record = json.loads(next(tmp_path.glob("*.log.json")).read_text().splitlines()[1])
    assert "loss" in record and "top-1" in record and not [k for k in record if "kd" in k]


def test_the_doctor_knows_what_a_classifier_is(root, tmp_path, capsys):
    file = tmp_path / "report.json"
    doctor([str(root / "pair.py"), "--device", "cpu", "--json", str(file)])
    text, report = capsys.readouterr().out, json.loads(file.read_text())
    assert report["task"] == "cls" and report["kind"] == "stage 2"
    assert "4 labels" in text and "3 classes" in text and "head.fc\n    (4, 3), (4, 3)" in text
    term, task = report["terms"]["loss_kd"], report["losses"]["task"]
    assert task > 0 and abs(term["ratio"] - term["loss"] / task) < 1e-6
    assert not [p for p in report["problems"] if "does not run" in str(p)], text
    assert report["teacher_loss"]["own"] > 0


INSTALLED = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


@pytest.mark.skipif(not INSTALLED, reason="needs onnx and onnxruntime")
def test_the_student_as_onnx(root, runs, tmp_path, capsys):
    alone, out = tmp_path / "student.pth", tmp_path / "student.onnx"
    convert_student(str(runs / "whole" / "latest.pth"), str(alone))
    args = [str(root / "pair.py"), str(alone), "--out-path", str(out), "--shape", "32", "32"]
    assert export_onnx(args) == 0
    assert out.is_file() and "3 of 3 classes agree" in capsys.readouterr().out


# --------------------------------------------------------------------------- a step
def test_a_step_by_hand(root):
    """(1 - alpha) times the cross entropy, plus alpha tau^2 times the soft one."""
    cfg = load.load_config(str(root / "pair.py"))
    algorithm = build.build_model(cfg, "cls")
    algorithm.init_weights()
    algorithm.train()
    student, teacher = algorithm.architecture.model, algorithm.distiller.teacher
    torch.nn.init.normal_(student.head.fc.weight)
    labels = torch.tensor([0, 2, 1, 1])
    data = dict(img=torch.randn(4, 3, 16, 16), gt_label=labels, img_metas=[{}] * 4)
    before = copy.deepcopy(student)
    outputs = algorithm.train_step(data, None)
    s = before.head.fc(before.extract_feat(data["img"])[-1])
    with torch.no_grad():
        t = teacher.head.fc(teacher.extract_feat(data["img"])[-1])
    own = F.cross_entropy(s, labels)
    soft = -(F.softmax(t / 2, 1) * F.log_softmax(s / 2, 1)).sum(1).mean()
    expected = 0.25 * own + 0.75 * 4 * soft
    torch.testing.assert_close(outputs["loss"], expected, rtol=1e-5, atol=0)
    log = outputs["log_vars"]
    assert abs(log["student.loss"] - 0.25 * float(own.detach())) < 1e-5
    assert abs(log["distiller.loss_kd.0"] - 3 * float(soft.detach())) < 1e-4
    assert log["top-1"] == 100 * float((s.argmax(1) == labels).float().mean())  # is no loss
    outputs["loss"].backward()
    expected.backward()
    ours, theirs = (dict(model.named_parameters()) for model in (student, before))
    for name in ("head.fc.weight", "backbone.conv1.weight"):
        torch.testing.assert_close(ours[name].grad, theirs[name].grad, rtol=1e-4, atol=1e-6)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize("method", ["kd", "nkd"])
def test_a_teacher_of_other_order_is_compared_by_name(root, tmp_path, method):
    """A permuted teacher with permuted names is the same teacher; labels mean the same as well."""
    content = torch.load(str(root / "teacher.pth"), weights_only=True)
    order = [2, 0, 1]
    for name in ("head.fc.weight", "head.fc.bias"):
        content["state_dict"][name] = content["state_dict"][name][order]
    content["meta"]["CLASSES"] = [CLASSES[i] for i in order]
    torch.save(content, str(tmp_path / "permuted.pth"))
    losses, alone = [], {"pair.losses": {"_delete_": True, method: {}}}
    for options in (alone, {**alone, "pair.teacher_checkpoint": str(tmp_path / "permuted.pth")}):
        cfg = load.load_config(str(root / "pair.py"), {**options, "pair.class_map": "by_name"})
        torch.manual_seed(0)
        algorithm = build.build_model(cfg, "cls")
        dataset = datasets.build_dataset(cfg.data.train, "cls")
        datasets.name_classes(algorithm, dataset)
        torch.manual_seed(0)
        algorithm.init_weights()
        check_data.check_ready(algorithm, dataset, 0)
        torch.manual_seed(1)
        data = dict(
            img=torch.randn(4, 3, 16, 16), gt_label=torch.tensor([0, 2, 1, 1]), img_metas=[{}] * 4
        )
        losses.append(algorithm.train().train_step(data, None)["loss"])
    torch.testing.assert_close(losses[0], losses[1])
    cfg = load.load_config(str(root / "pair.py"), options)
    algorithm = build.build_model(cfg, "cls")
    datasets.name_classes(algorithm, dataset)
    algorithm.init_weights()
    with pytest.raises(ConfigError, match="indexed by class.*class_map='by_name'"):
        check_data.check_ready(algorithm, dataset, 0)


# --------------------------------------------------------------------------- stock configs
def test_stock_configs_by_name():
    name = "mmcls::resnet/resnet18_8xb32_in1k.py"
    model = read_model(name, "model")
    assert model.type == "mmcls.ImageClassifier" and model.head.num_classes == 1000
    assert official_checkpoint(name).startswith("https://download.openmmlab.com/mmclassification/")
    cfg = load.load_config(name)
    cfg.data.val.data_prefix = cfg.data.val.ann_file = "/no/such"
    with pytest.raises(ConfigError, match=r"data.train.data_prefix: expected .*imagenet/train"):
        check_config(cfg)
    cfg = load.load_config("mmcls::resnet/resnet18_8xb16_cifar10.py")
    assert check_config(cfg, ("train", "val")) == "cls"  # mmcls downloads it


def test_files_are_the_hosts(root):
    """An annotation file has no root; a file may name the classes."""
    cfg = load.load_config(str(root / "plain.py"))
    lines = [f"{name}/{i}.png {label}" for label, name in enumerate(CLASSES) for i in range(2)]
    (root / "list.txt").write_text("\n".join(lines) + "\n")
    (root / "names.txt").write_text("\n".join(CLASSES) + "\n")
    files = dict(ann_file=str(root / "list.txt"), classes=str(root / "names.txt"))
    cfg.data.train.update(files)
    assert check_config(cfg) == "cls"
    dataset = datasets.build_dataset(cfg.data.train, "cls")
    assert len(dataset) == 6 and list(dataset.CLASSES) == list(CLASSES)
    check_data.check_images(dataset)
    (root / "list.txt").write_text(f"{CLASSES[0]}/0.png 0\n{CLASSES[0]}/1.png 3\n")
    dataset = datasets.build_dataset(cfg.data.train, "cls")
    with pytest.raises(
        ConfigError, match="data.train.classes: expected labels from 0 to 2.*0 to 3"
    ):
        check_data.check_images(dataset)
    cfg.data.train.classes = "/no/names.txt"
    with pytest.raises(ConfigError, match="data.train.classes: expected a file .*/no/names.txt"):
        check_config(cfg)


def test_loader_options_are_the_hosts(root):
    """mmcls takes those of ``data`` for evaluation too, the size of batches among them."""
    cfg = load.load_config(str(root / "plain.py"))
    loader = datasets.build_eval_loader(cfg, "val", "cls", False)
    assert loader.batch_size == 4 and len(loader) == 4
    cfg.data.val_dataloader = dict(samples_per_gpu=15)
    assert len(datasets.build_eval_loader(cfg, "val", "cls", False)) == 1
    wrapped = dict(type="RepeatDataset", times=2, dataset=cfg.data.val)
    cfg.data.val = wrapped
    with pytest.raises(
        ConfigError, match="RepeatDataset has no 'evaluate'.*Give the dataset inside"
    ):
        datasets.build_eval_loader(cfg, "val", "cls", False)
    assert len(datasets.build_dataset(wrapped, "cls")) == 30


# --------------------------------------------------------------------------- errors
def refused(root, tmp_path, capsys, kind, extra, config=None):
    """The one line that a user sees."""
    config = config or write(root, f"wrong_{kind}", dict(plain=PLAIN, pair=PAIR)[kind], extra)
    assert train([config, "--device", "cpu", "--seed", "1", "--work-dir", str(tmp_path / "w")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("kind", "extra", "words"),
    [
        ("plain", "model['head']['num_classes'] = 4\n",
         ["head.num_classes: LinearClsHead has 4 classes", "3 (dark", "head=dict(num_classes="]),
        ("pair", "pair['student']['train_cfg'] = dict(augments=dict(type='BatchMixup', alpha=0.2, "
         "num_classes=3, prob=1.0))\n",
         ["pair.student", "expected head.cal_acc=False", "BatchMixup", "augments=None"]),
        ("pair", "pair['student']['train_cfg'] = dict(augments=[dict(type='BatchCutMix', "
         "alpha=1.0, num_classes=4, prob=0.5)])\n",
         ["pair.student", "BatchCutMix", "4 classes", "the head has 3", "num_classes"]),
        ("pair", "pair['losses']['kd']['tau'] = 0\n", ["pair.losses.kd.tau must be", "got 0"]),
        ("pair", "pair['losses']['kd']['alpha'] = 1.5\n", ["kd.alpha", "got 1.5"]),
        ("pair", "pair['losses']['kd']['temperature'] = 1\n", ["pair.losses.kd", "temperature"]),
        ("pair", "pair['losses']['kd']['module'] = 'head.fcc'\n", ["'head.fcc'", "head.fc"]),
        ("pair", "pair['losses']['kd']['module'] = 'backbone'\n", ["tap its classifier layer"]),
        ("pair", "pair['losses'] = dict(dkd=dict(module='backbone'))\n",
         ["dkd: expected class logits", "got (1, 32, 2, 2)", "tap its classifier layer"]),
        ("pair", "pair['losses'] = dict(nkd=dict(gamma=-1))\n",
         ["pair.losses.nkd.gamma must be", "got -1"]),
        ("pair", "pair['losses'] = dict(srrl=dict(module='head.fc'))\n",
         ["pair.losses.srrl.module", "expected maps (1, C, H, W)"]),
        ("pair", "pair['losses'] = dict(mgd=dict(mask='rows'))\n", ["pair.losses.mgd.mask='rows'"]),
        ("plain", "train_pipeline[-1]['keys'] = ['img']\n"
         "data['train']['pipeline'] = train_pipeline\n",
         ["needs gt_label", "ToTensor(keys=['gt_label'])"]),
        ("plain", "evaluation['metric'] = 'bbox'\n", ["evaluation.metric", "'bbox'", "--eval"]),
        ("plain", "evaluation['metric_options'] = dict(topk=(1, 5))\n",
         ["evaluation.metric", "topk: there are 3 classes"]),
        ("plain", "sampler = dict(type='RepeatAugSampler')\n", ["sampler: expected None"]),
        ("plain", "custom_hooks = [dict(type='PreciseBNHook', num_samples=8)]\n",
         ["PreciseBNHook: it cannot run here", "Leave it out"]),
        ("plain", "data['val']['pipeline'] = train_pipeline[:1] + train_pipeline[6:]\n",
         ["data.val"]),
    ],
)  # fmt: skip
def test_mistakes_are_named(root, tmp_path, capsys, kind, extra, words):
    error = refused(root, tmp_path, capsys, kind, extra)
    for word in words:
        assert word in error, error


def test_a_plain_classifier_may_mix_its_batches(root, tmp_path):
    mixup = dict(type="BatchMixup", alpha=0.2, num_classes=3, prob=1.0)
    head = (
        "model['head'].update(cal_acc=False, loss=dict(type='CrossEntropyLoss', use_soft=True))\n"
    )
    extra = f"model['train_cfg'] = dict(augments={mixup})\n{head}runner['max_epochs'] = 1\n"
    config = write(root, "mixup", PLAIN, extra)
    args = [config, "--device", "cpu", "--seed", "1", "--work-dir", str(tmp_path), "--no-validate"]
    assert train(args) == 0


def test_other_numbers_of_classes_cannot_be_compared(root):
    options = {"pair.teacher.head.num_classes": 4, "pair.teacher_checkpoint": None}
    cfg = load.load_config(str(root / "pair.py"), options)
    with pytest.raises(ConfigError, match="class maps of 3 classes, the teacher's .* of 4"):
        build.build_model(cfg, "cls")


def test_metrics_are_checked_before_training(root):
    cfg = load.load_config(str(root / "plain.py"))
    dataset = datasets.build_dataset(cfg.data.val, "cls", test_mode=True)
    assert (
        metrics.check(dataset, dict(metric=["accuracy", "f1_score"], metric_options={"topk": 1}))
        == []
    )
    with pytest.raises(ConfigError, match="evaluation.metrik: .*nearest is metric"):
        metrics.check(dataset, dict(metrik="accuracy"))
    folds = dict(type="KFoldDataset", num_splits=5, dataset=dict(cfg.data.val), test_mode=True)
    part = datasets.build_dataset(folds, "cls")
    assert len(part) == 3 and metrics.check_options(part, dict(metric="accuracy")) == []


# --------------------------------------------------------------------------- several processes
@pytest.mark.slow
def test_two_processes_train_and_evaluate(root, tmp_path):
    """15 images in 2 processes score as in one."""
    variables = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    work, config = tmp_path / "work", str(root / "pair.py")
    checkpoint, files = work / "latest.pth", [str(tmp_path / f"{n}.json") for n in (1, 2)]
    options = ["--seed", "1", "--device", "cpu", "--work-dir", str(work)]
    test = ["tools/dist_test.sh", config, str(checkpoint), "2", "--device", "cpu"]
    for command in (
        ["tools/dist_train.sh", config, "2", *options],
        [*test, "--json", files[1]],
    ):
        done = subprocess.run(
            ["bash", *command], cwd=str(ROOT), env=variables, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert evaluate([config, str(checkpoint), "--device", "cpu", "--json", files[0]]) == 0
    one, two = (json.loads(Path(file).read_text()) for file in files)
    assert one["metrics"] == two["metrics"] and one["images"] == two["images"] == 15
