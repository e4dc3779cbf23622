"""The doctor's numbers are those of training, and each thing that is wrong is found."""

import doctest
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tiny as models
import torch
from PIL import Image
from torch import nn

from freekd import compat

compat.apply()

from freekd.config.errors import ConfigError
from freekd.config.load import load_config
from freekd.distill import annotations
from freekd.doctor import (
    checks,
    examine,
    main,
    measure,
    prepare,
)
from freekd.doctor.checks import Pixels
from freekd.engine.train import train
from freekd.losses.freekd import freekd_loss
from freekd.prompts.file import save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

PAIR = """
model = None
pair = dict(
    teacher="{root}/plain.py", teacher_checkpoint="{root}/teacher/latest.pth",
    student="{root}/plain.py",
    losses=dict(
        freekd=dict(prompts="{root}/prompts.pth", loss_weight=0.5),
        mimic=dict(loss_weight=2.0),
        regression=dict(module="bbox_head.retina_cls", loss_weight=1.0),
    ),
    inherit=["bbox_head"],
)
"""
PROMPT = """
model = None
prompt = dict(teacher="{root}/plain.py", teacher_checkpoint="{root}/teacher/latest.pth")
"""


@pytest.fixture(scope="module")
def pair(tiny):
    """A teacher trained for a moment, prompts for it, and configs of every kind."""
    from freekd.prompts.file import save_prompts
    from freekd.prompts.prompts import FrequencyPrompts
    from freekd.prompts.spec import PromptSpec

    plain = tiny.config("plain")
    cfg = load_config(plain, {"runner.max_epochs": 40, "optimizer.lr": 4e-3})
    cfg.work_dir, cfg.device, cfg.seed = str(tiny.root / "teacher"), "cpu", 3
    teacher = train(cfg, validate=False).model.module
    torch.manual_seed(0)
    prompts = FrequencyPrompts(PromptSpec.build(8, 3))
    for parameter in prompts.parameters():
        nn.init.normal_(parameter, std=0.3)
    from freekd.prompts.file import fingerprint

    info = dict(teacher_module="neck", teacher_fingerprint=fingerprint(teacher))
    save_prompts(prompts, str(tiny.root / "prompts.pth"), info)
    fill = dict(root=str(tiny.root))
    return SimpleNamespace(
        root=tiny.root, plain=plain, stage2=tiny.config("pair", extra=PAIR.format(**fill)),
        stage1=tiny.config("prompt", kind="iterations", extra=PROMPT.format(**fill)),
    )  # fmt: skip


def look(path, batches=1, target=1.0, **options):
    cfg = load_config(path, {name.replace("__", "."): value for name, value in options.items()})
    cfg.device, cfg.seed = "cpu", 0
    return examine(cfg, batches, target)


def only_problem(report):
    assert len(report.problems) == 1, report.text()
    return report.problems[0].what


# --------------------------------------------------------------------------- a healthy pair
def test_healthy_pair(pair, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["--json", "report.json", "--draw", "places.png", "--device", "cpu", "--seed", "0"]
    assert main([pair.stage2, *arguments]) == 0
    text = capsys.readouterr().out
    assert "Nothing wrong was found." in text and "PROBLEM" not in text
    for line in (
        "7 images; a batch: (2, 3, 96, 96), 3 boxes, 2 classes",
        "the same as in the teacher's checkpoint",
        "the same as in the teacher's config",
        "100.0% from " + str(pair.root / "teacher/latest.pth"),
        "bbox_head 100% inherited); random at the start: backbone, neck",
        "made in neck of a teacher: this one",
        "(2, 8, 12, 12) stride 8, (2, 8, 12, 12) stride 8",
        "2 epochs of 4 iterations",
        "pair.losses.regression.loss_weight",
    ):
        assert line in text, text
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["ok"] and record["kind"] == "stage 2" and record["cost"]["seconds"] > 0
    assert record["weights"]["teacher"] == 1.0
    assert [tap["student"] for tap in record["taps"]] == ["neck", "bbox_head.retina_cls"]
    cells = json.loads(Image.open(tmp_path / "places.png").text["freekd-cells"])
    assert [cell["name"] for cell in cells] == 2 * ["image and boxes", "loss_freekd"]  # two images
    assert {p.name for p in tmp_path.iterdir()} == {"report.json", "places.png"}  # nothing else


def test_a_config_without_places_says_that_nothing_is_drawn(pair, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main([pair.plain, "--draw", "places.png", "--device", "cpu"])
    assert "places.png was not written: no loss here weights places" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_trained(pair):
    from freekd.doctor import steps
    from freekd.doctor.report import Report

    cfg = load_config(pair.stage2)
    cfg.device, cfg.seed = "cpu", 0
    subject = prepare(cfg)
    before = [parameter.detach().clone() for parameter in subject.model.parameters()]
    batch = next(iter(subject.loader))
    inputs = measure.on_device(subject.wrapped, batch)
    report = Report("")
    steps.losses(subject, report, [inputs], 1.0)
    steps.costs(subject, report, [batch], 0.0, 2)
    steps.teacher_loss(subject, report, inputs)
    assert all(torch.equal(a, b) for a, b in zip(before, subject.model.parameters()))
    assert all(parameter.grad is None for parameter in subject.model.parameters())


# --------------------------------------------------------------------------- ratios
def log_of_training(path, tmp_path, count=1):
    """What training itself logs for its first iterations, at a learning rate of 0."""
    cfg = load_config(path, {"optimizer.lr": 0.0, "optimizer.weight_decay": 0.0})
    cfg.lr_config, cfg.work_dir, cfg.device, cfg.seed = None, str(tmp_path / "run"), "cpu", 0
    cfg.custom_hooks = [dict(type="KeepLogs")]
    return train(cfg, validate=False).kept[:count]


@pytest.fixture(scope="module", autouse=True)
def keep_logs():
    from mmcv.runner import HOOKS, Hook

    @HOOKS.register_module()
    class KeepLogs(Hook):
        def after_train_iter(self, runner):
            runner.kept = [*getattr(runner, "kept", []), dict(runner.outputs["log_vars"])]

    yield
    HOOKS.module_dict.pop("KeepLogs")


def test_ratios_are_those_of_the_log(pair, tmp_path):
    logs = log_of_training(pair.stage2, tmp_path, count=3)
    found = look(pair.stage2).record["terms"]
    assert set(found) == {"loss_freekd", "loss_mimic", "loss_regression"}
    for name, term in found.items():
        assert term["ratio"] == pytest.approx(logs[0][name.replace("loss_", "ratio.")], rel=1e-5)
    several = look(pair.stage2, batches=3).record
    want = sum(log["ratio.freekd"] for log in logs) / 3
    assert several["terms"]["loss_freekd"]["ratio"] == pytest.approx(want, rel=1e-5)
    want = sum(log["student.loss_bbox"] for log in logs) / 3
    assert several["losses"]["loss_bbox"] == pytest.approx(want, rel=1e-5)


def test_the_suggested_weight_gives_the_target(pair):
    first = look(pair.stage2, target=0.3).record["terms"]["loss_freekd"]
    assert first["key"] == "pair.losses.freekd.loss_weight" and first["weight"] == 0.5
    double = look(pair.stage2, target=0.3, pair__losses__freekd__loss_weight=1.0)
    double = double.record["terms"]["loss_freekd"]
    assert double["ratio"] == pytest.approx(2 * first["ratio"])
    assert double["gradient"] == pytest.approx(2 * first["gradient"], rel=1e-4)
    factors = [term["suggested"] / term["weight"] for term in (first, double)]
    assert factors[1] == pytest.approx(factors[0] / 2)
    then = look(pair.stage2, target=0.3, pair__losses__freekd__loss_weight=first["suggested"])
    assert then.record["terms"]["loss_freekd"]["ratio"] == pytest.approx(0.3, rel=1e-4)


def test_gradients_by_hand():
    """Task 3 sum(x): a gradient of 3 at each of 4 places, norm 6. Term 2 * sum(x^2) / 2 at
    x = 1, 2, 2, 4: 2 x, norm 2 * 5. In two calls of the head, as a shared one has them."""
    x = torch.tensor([1.0, 2.0, 2.0, 4.0], requires_grad=True)
    first, second = x[:2] * 1, x[2:] * 1
    task, halves = 3 * (first.sum() + second.sum()), [t.square().sum() for t in (first, second)]
    distiller = SimpleNamespace(
        exec_teacher_forward=lambda data: None,
        exec_student_forward=lambda student, data: dict(loss_cls=task, acc=torch.tensor(7.0)),
        compute_distill_loss=lambda data: {"loss_a.0": halves[0], "loss_a.1": halves[1]},
        components=[
            dict(student_module="head", teacher_module="head", losses=[dict(name="loss_a")])
        ],
        student_outputs=dict(head=[(first, None), (second, None)]),
        teacher_outputs=dict(head=[(first.detach(), None), (second.detach(), None)]),
        losses=dict(loss_a=SimpleNamespace(loss_weight=2.0)),
    )
    from mmrazor.models.algorithms.base import BaseAlgorithm

    parse = BaseAlgorithm._parse_losses
    algorithm = SimpleNamespace(
        distiller=distiller, architecture=None, _parse_losses=lambda losses: parse(None, losses)
    )
    step = measure.distill_step(algorithm, {})
    assert (step.task, step.losses) == (27.0, dict(loss_cls=27.0, loss_a=25.0))
    (ratio,) = step.ratios
    assert ratio.ratio == pytest.approx(25 / 27)
    assert ratio.gradient == pytest.approx(10 / 6)
    assert ratio.suggested(0.5) == pytest.approx(2 * 0.5 * 27 / 25)
    assert step.shapes == [("head", "head", [((2,), (2,)), ((2,), (2,))])]
    assert ratio._replace(ratio=1e-5).suggested(1.0) is None  # an inherited head's, say


def test_the_step_leaves_no_graph_behind(pair):
    """Or the memory of a training step would be measured with a second one beside it."""
    cfg = load_config(pair.stage2)
    cfg.device, cfg.seed = "cpu", 0
    subject = prepare(cfg)
    measure.distill_step(
        subject.model, measure.on_device(subject.wrapped, next(iter(subject.loader)))
    )
    distiller = subject.model.distiller
    assert not any(distiller.student_outputs.values()) and not any(
        distiller.teacher_outputs.values()
    )


def test_the_release_and_the_paper_give_terms_of_other_sizes():
    """docs/loss_weights.md: the nine detail bands are three times the release's sum of levels'
    means over orientations, to rounding; LL comes on top of that."""
    path = Path(__file__).resolve().parents[1] / "golden" / "freekd_official_t2.npz"
    with np.load(path) as file:
        maps = {name: torch.from_numpy(np.array(file[name])) for name in file.files}

    def size(granularity, bands):
        pairs = [(maps[f"student_{i}"], maps[f"teacher_{i}"]) for i in range(5)]
        return sum(float(freekd_loss(s, t, granularity=granularity, bands=bands)) for s, t in pairs)

    release = size("level", "high")
    assert size("band", "high") / release == pytest.approx(3, rel=1e-5)
    assert size("band", "all") / release == pytest.approx(3.28, abs=0.005)
    assert size("level", "all") / release == pytest.approx(1.28, abs=0.005)


# --------------------------------------------------------------------------- what is wrong
def test_a_teacher_that_was_not_loaded(pair, tmp_path):
    cfg = load_config(pair.plain)
    from freekd.engine.build import build_model

    torch.manual_seed(5)
    teacher = build_model(cfg, "det")
    teacher.init_weights()
    path = str(tmp_path / "random.pth")
    torch.save(dict(state_dict=teacher.state_dict()), path)
    report = look(pair.stage2, pair__teacher_checkpoint=path, pair__losses__freekd__prompts=None)
    problem = only_problem(report)
    assert "of that of random weights: it is not trained" in problem
    losses = report.record["teacher_loss"]
    assert losses["own"] > 0.9 * min(losses["random"], losses["random_heads"])
    trained = look(pair.stage2).record["teacher_loss"]
    assert trained["own"] < 0.6 * min(trained["random"], trained["random_heads"])


def test_a_teacher_without_checkpoint(pair):
    report = look(pair.stage2, pair__teacher_checkpoint=None, pair__losses__freekd__prompts=None)
    assert "The teacher is not trained: 0% of its weights" in report.problems[0].what
    assert report.problems[0].remedy == "Set pair.teacher_checkpoint to its checkpoint."


@pytest.mark.parametrize("change", [dict(to_rgb=False), dict(mean=[104.0, 117.0, 124.0])])
def test_other_pixels_than_the_teachers(pair, change):
    normalize = dict(mean=[127.0] * 3, std=[64.0] * 3, to_rgb=True)
    normalize.update(change, type="Normalize")
    both = {"data__train__pipeline__5": normalize}
    both["data__val__pipeline__1__transforms__2"] = normalize
    both["data__test__pipeline__1__transforms__2"] = normalize
    text = look(pair.stage2, **both).text()
    assert "The teacher knows other pixels than it will see." in text
    assert "mean [127, 127, 127]" in text and "1 PROBLEM" in text


def test_other_pixels_in_validation(pair):
    report = look(pair.plain, data__val__pipeline__1__transforms__2__to_rgb=False)
    problem = only_problem(report)
    assert problem.startswith("Evaluation has other pixels than data.train. Normalize in data.val")
    assert "data.test" not in problem


def test_pixels():
    """ImageNet's: a pixel of 0 comes out as -2.12, 255 as 2.25; (-2.118 + 2.04) / 4.37 of it."""
    caffe = checks.pixels_of_model(
        "mmdet::fcos/fcos_r50_caffe_fpn_gn-head_mstrain_640-800_2x_coco.py", "teacher"
    )
    assert caffe == [Pixels((102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0), False)]
    reference = dict(
        config="mmdet::retinanet/retinanet_r50_fpn_2x_coco.py", backbone=dict(depth=18)
    )
    imagenet = checks.pixels_of_model(reference, "teacher")
    assert imagenet == [Pixels((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), True)]
    assert not checks.same_pixels(caffe, imagenet)
    near = [caffe[0]._replace(mean=(103.53, 116.28, 123.675))]
    assert checks.same_pixels(caffe, near)
    half = imagenet[0]._replace(std=(116.79, 114.24, 114.75))
    assert imagenet[0].differs(half) == pytest.approx((255 - 103.53) / 255 / 2)
    assert checks.pixels_of_model(dict(type="mmdet.RetinaNet"), "teacher") is None
    assert checks.pixels_of([dict(type="Resize")]) == [Pixels()]


def test_pixels_in_a_checkpoint():
    text = (
        "norm = dict(mean=[1, 2, 3], std=[1.0, 1.0, 1.0], to_rgb=False)\n"
        "train_pipeline = [dict(type='Normalize', **norm), dict(type='Pad', size_divisor=32)]\n"
        "val = dict(pipeline=[{'type': 'Normalize', 'mean': [4] * 1, 'std': [1, 1, 1]}])\n"
        "raise SystemExit('config text is never run')\n"
    )
    found = checks.pixels_of_checkpoint(dict(config=text))
    assert found == [Pixels((1.0, 2.0, 3.0), (1.0, 1.0, 1.0), False)]
    for meta in (None, {}, dict(config="not python ("), dict(config="model = dict(type='A')")):
        assert checks.pixels_of_checkpoint(meta) is None


def test_other_classes(pair):
    one = {f"data__{split}__classes": ["dark"] for split in ("train", "val", "test")}
    report = look(pair.stage2, **one)
    assert only_problem(report) == (
        "The student has bbox_head.num_classes=2; the dataset has 1 classes."
    )
    assert "trained on the classes dark, light (2)" not in report.text()
    swapped = {f"data__{split}__classes": ["light", "dark"] for split in ("train", "val", "test")}
    both = "has the classes light, dark (2), the teacher dark, light (2), in this order"
    with pytest.raises(ConfigError, match="retina_cls.*is indexed by class") as error:
        look(pair.stage2, **swapped)  # its head is inherited
    assert both in str(error.value) and "class_map='by_name'" in str(error.value)
    problem = only_problem(look(pair.stage2, **swapped, pair__inherit=None))  # and tapped
    assert "pair.losses.regression: 'bbox_head.retina_cls'" in problem and both in problem
    assert not look(pair.stage2, **swapped, pair__class_map="by_name").problems
    assert both in only_problem(look(pair.stage1, **swapped))
    assert not look(pair.stage1, **swapped, prompt__class_map="by_index").problems


def test_labels_that_the_head_does_not_have_are_not_sent_through(pair):
    report = look(pair.plain, model__bbox_head__num_classes=1)
    assert "has bbox_head.num_classes=1; the dataset has 2 classes" in only_problem(report)
    assert "losses" not in report.record


def test_prompts_of_another_teacher(pair, tmp_path):
    state = torch.load(str(pair.root / "teacher/latest.pth"), weights_only=False)
    state["state_dict"]["backbone.conv1.weight"] *= 1.01
    other = str(tmp_path / "other.pth")
    torch.save(state, other)
    report = look(pair.stage2, pair__teacher_checkpoint=other)
    assert "the prompts were made with a" in only_problem(report)
    assert "made in neck of a teacher: another (" in report.text()
    assert report.record["terms"]["loss_freekd"]["ratio"] > 0  # the rest is looked at all the same


def test_load_from_with_other_names(pair):
    """A plain model's file fills the student of a pair, too."""
    plain = str(pair.root / "teacher/latest.pth")
    for config in (pair.stage2, pair.plain):
        report = look(config, load_from=plain)
        assert not report.problems and report.record["weights"]["student"] == 1.0


def test_shapes_that_do_not_match(pair):
    levels = {
        "pair__losses__mimic": None,
        "pair__losses__regression": None,
        "pair__inherit": [],
    }
    report = look(pair.stage2, **levels, pair__student_channels=4)
    assert "student_channels" in only_problem(report)
    assert "losses" not in report.record and "teacher_loss" in report.record


def test_what_stops_the_build(pair, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FREEKD_DEBUG", raising=False)
    out = tmp_path / "report.json"
    options = ["--device", "cpu", "--json", str(out), "--cfg-options"]
    assert main([pair.stage2, *options, "pair.teacher_checkpoint=/no/such.pth"]) == 1
    assert "error: " in capsys.readouterr().err
    record = json.loads(out.read_text())
    assert not record["ok"] and "/no/such.pth" in record["problems"][0]["what"]
    assert main([pair.stage2, *options, "pair.module=nek"]) == 1
    assert "nek" in json.loads(out.read_text())["problems"][0]["what"]
    assert main([pair.stage2, *options, "pair.losses.freekd.loss_weight=0"]) == 1
    assert "PROBLEM" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([pair.stage2, "--batches", "0"])


# --------------------------------------------------------------------------- other kinds of runs
def test_stage_1(pair, tmp_path):
    log = log_of_training(pair.stage1, tmp_path)[0]
    report = look(pair.stage1, target=2.0)
    assert not report.problems, report.text()
    term = report.record["terms"]["dissimilarity"]
    assert term["ratio"] == pytest.approx(log["ratio.dissimilarity"], rel=1e-5)
    assert term["key"] == "prompt.dissimilarity_weight" and term["gradient"] > 0
    assert term["suggested"] == pytest.approx(2 / term["ratio"])
    then = look(pair.stage1, prompt__dissimilarity_weight=term["suggested"])
    assert then.record["terms"]["dissimilarity"]["ratio"] == pytest.approx(2.0, rel=1e-5)
    losses, teacher = report.record["losses"], report.record["teacher_loss"]
    assert losses["unprompted"] == pytest.approx(teacher["own"])  # T = 2: masks add up to 1
    assert losses["task"] == pytest.approx(teacher["own"], rel=0.05)
    assert report.record["weights"]["teacher"] == 1.0


def test_stage_1_looks_at_the_prompts_of_its_work_folder(pair, tmp_path):
    """Another spec's are told of; those of its own, loud and without a gate, are measured."""
    part = load_config(pair.stage1).algorithm.architecture
    path = name = str(tmp_path / "prompts.pth")
    options = dict(work_dir=str(tmp_path), prompt__gate=None)
    for count in (3, 2):
        torch.manual_seed(0)
        spec = PromptSpec.build(part.channels, part.num_levels, num_prompts=count, gate=None)
        save_prompts(FrequencyPrompts(spec, init_std=1.0), path)
        report = look(pair.stage1, batches=2, **options)
        found = report.record["localisation"]
        assert (name in found) == (count == 2)
        assert any(f"{path} was not looked at" in note for note in report.notes) == (count == 3)
    fresh = found["the prompts at the start"]
    assert found[name]["spread"] > 5 * fresh["spread"] > 0
    assert 0 < found[name]["auc"] < 1 and f"Where {name} looks" in report.text()


def test_stage_1_with_a_price(pair):
    """T = 2 at the start: 1 passes, so the price is the term."""
    options = dict(prompt__form="energy_bias", prompt__sparsity=0.5, prompt__fill="mean")
    report = look(pair.stage1, **options, prompt__dissimilarity_reduction="mean")
    assert not report.problems, report.text()
    terms = report.record["terms"]
    assert set(terms) == {"dissimilarity", "sparsity"}
    assert terms["sparsity"]["loss"] == pytest.approx(0.5, rel=1e-2)
    assert terms["sparsity"]["key"] == "prompt.sparsity" and terms["sparsity"]["gradient"] > 0
    assert terms["dissimilarity"]["loss"] == pytest.approx(1, rel=1e-2)  # of 30 bands, each 1


def test_plain_model(pair):
    report = look(pair.plain, batches=2)
    assert not report.problems and "terms" not in report.record
    assert report.record["losses"]["task"] > 0 and report.record["cost"]["batch"] == 2
    assert "random at the start: backbone, neck, bbox_head" in report.text()


def test_mmrazors_own_distiller(tiny):
    report = look(tiny.config("stock", distill=True))
    assert "The teacher is not trained" in report.text()  # it has no key for a checkpoint
    (term,) = report.record["terms"].values()
    assert term["gradient"] > 0 and term["suggested"] * term["ratio"] == pytest.approx(1.0)
    assert term["key"] == "algorithm.distiller.components.0.losses.0.loss_weight"


def test_segmentor(tmp_path):
    rng = np.random.RandomState(0)
    for folder, shape in (("img", (48, 48, 3)), ("ann", (48, 48))):
        (tmp_path / folder).mkdir()
        for i in range(2):
            values = rng.randint(0, 5, shape, dtype=np.uint8)
            cv2.imwrite(str(tmp_path / folder / f"{i}.png"), values)
    data = dict(
        type="CustomDataset", data_root=str(tmp_path), img_dir="img", ann_dir="ann",
        img_suffix=".png", seg_map_suffix=".png", classes=list("abcde"), palette=[[0, 0, 0]] * 5,
        pipeline=[
            dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"),
            dict(type="Resize", img_scale=(48, 48)), dict(type="RandomFlip", prob=0.5),
            dict(type="Normalize", mean=[127.0] * 3, std=[64.0] * 3),
            dict(type="Pad", size=(48, 48)),
            dict(type="DefaultFormatBundle"), dict(type="Collect", keys=["img", "gt_semantic_seg"]),
        ],
    )  # fmt: skip
    config = tmp_path / "seg.py"
    config.write_text(
        f"data = dict(samples_per_gpu=2, workers_per_gpu=0, train={data!r})\n"
        f"model = {models.segmentor()!r}\n"
        "optimizer = dict(type='SGD', lr=0.01)\n"
        "runner = dict(type='IterBasedRunner', max_iters=10)\n"
    )
    plain = look(str(config))
    assert (
        not plain.problems and "2 images; a batch: (2, 3, 48, 48), maps of labels" in plain.text()
    )
    torch.manual_seed(0)
    teacher = models.build(models.segmentor())
    torch.save(dict(state_dict=teacher.state_dict()), str(tmp_path / "teacher.pth"))
    config.write_text(
        config.read_text()
        + f"pair = dict(teacher=model, student=model, module='decode_head.conv_seg', "
        f"teacher_checkpoint='{tmp_path}/teacher.pth', losses=dict(freekd={{}}))\n"
        "model = None\n"
    )
    report = look(str(config))
    assert "it is not trained" in only_problem(report)  # random weights
    assert report.record["terms"]["loss_freekd"]["gradient"] > 0
    assert "which Normalize it was trained with: compare it yourself" in report.text()


@pytest.mark.parametrize("name", ["checks", "steps"])
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"freekd.doctor.{name}"))
    assert result.attempted > 0 and result.failed == 0


def test_a_mask_head_without_masks_is_left_out():
    head = nn.Module()
    head.mask_head = nn.Linear(1, 1)
    teacher = SimpleNamespace(roi_head=head)
    assert checks.heads_without_annotations(teacher, dict(gt_masks=[])) == []
    without = checks.heads_without_annotations(teacher, dict(gt_bboxes=[]))
    assert without == ["roi_head.mask_head"]
    with annotations.left_out(teacher, without):
        assert head.mask_head is None
    assert isinstance(head.mask_head, nn.Linear)
    assert checks.heads_without_annotations(SimpleNamespace(), {}) == []


def test_the_evaluation_is_looked_at_as_in_training(pair):
    for changed, words in (
        (dict(evaluation__metric="nope"), "metric nope is not supported"),
        (dict(data__val__classes=["light", "dark"]), "data.val.classes: light, dark"),
        (dict(lr_config__policy="nope"), "lr_config.policy: expected one of mmcv's"),
    ):
        with pytest.raises(ConfigError, match=words):
            look(pair.plain, **changed)
