"""The protocol: each task answers for its host, importing it costs nothing, no other names one."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from freekd import compat, tasks
from freekd.tasks.base import Task, TaskError

compat.apply()

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "freekd").rglob("*.py"))
WHOSE = ("tasks", "compat", "visualization")  # these may name a task or a host
# These may too, for a reason.
REASONS = {
    "losses": "a method's card says for which tasks it is made, and whose loss it is",
    "distill/run/leave_out.py": "it lists the branches of mmdet's own heads",
    "engine/sampler.py": "the order of images is that of mmdet's samplers, in every task",
    "models": "networks over a host's own, which it builds and reads",
    "datasets/sam": "Segment Anything's data is a data set of mmdet's registry",
    "engine/sam_reference.py": "Segment Anything runs in the task of detection",
    "study": "the quickstart of the bundled detection task, and the versions that it prints",
}


@pytest.fixture(params=tasks.names())
def task(request):
    return tasks.get(request.param)


# --------------------------------------------------------------------------- who names a task
def _named(tree):
    """Names of tasks, of hosts, and modules of these, in code; docstrings and messages are not."""
    exact = {*tasks.names(), *(t.package for t in tasks.every()), "sam"}
    hosts = {t.package for t in tasks.every()}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            value = node.value
            if value in exact or (value.split(".")[0] in hosts and " " not in value):
                yield node.lineno, value
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in hosts:
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module.split(".")[0] in hosts:
                yield node.lineno, node.module


def test_no_other_file_names_a_task():
    found = {}
    for path in FILES:
        name = str(path.relative_to(ROOT / "freekd"))
        if name.split("/")[0] in WHOSE or any(name.startswith(reason) for reason in REASONS):
            continue
        hits = list(_named(ast.parse(path.read_text(encoding="utf-8"))))
        if hits:
            found[name] = hits
    assert not found, "ask freekd.tasks instead, or give a reason in this test"


def test_every_reason_is_one():
    for reason in REASONS:
        paths = [p for p in FILES if str(p.relative_to(ROOT / "freekd")).startswith(reason)]
        assert any(list(_named(ast.parse(p.read_text(encoding="utf-8")))) for p in paths), reason


def test_importing_it_imports_no_host():
    hosts = {"mmcv", "mmrazor", *(task.package for task in tasks.every())}
    code = f"import sys, freekd.tasks; print([m for m in sys.modules if m in {hosts}])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=str(ROOT), check=True
    )
    assert done.stdout.strip() == "[]"


# --------------------------------------------------------------------------- each task
def test_each_overrides_what_the_protocol_has(task):
    """A misspelt method would never be asked."""
    own = [name for name in vars(type(task)) if not name.startswith("_")]
    assert not [name for name in own if not hasattr(Task, name)]
    for name in own:
        ours, theirs = getattr(type(task), name), getattr(Task, name)
        if callable(theirs):
            assert list(inspect.signature(ours).parameters) == list(
                inspect.signature(theirs).parameters
            ), name


def test_its_host_is_there(task):
    assert task.installed() and repr(task).startswith(f"<task {task.name}: ")
    assert tasks.of_package(task.package) is task and tasks.get(task.name) is task
    assert task.knows({"det": "FCOS", "seg": "EncoderDecoder", "cls": "ImageClassifier"}[task.name])
    assert not task.knows("ResNet" if task.name == "cls" else "Unheard")
    hooks = [task.eval_hook(distributed) for distributed in (False, True)]
    assert [hook.__name__ for hook in hooks] == ["EvalHook", "DistEvalHook"]
    assert all(hook.__module__.startswith(task.package) for hook in hooks)
    from mmrazor.models.builder import ARCHITECTURES

    assert ARCHITECTURES.get(task.architecture) is not None


CLASSIFIER = dict(
    type="ImageClassifier",
    backbone=dict(type="ResNet_CIFAR", depth=18, stem_channels=4, base_channels=4),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=3, in_channels=32),
)
MODELS = dict(det=tiny.detector(), seg=tiny.segmentor(), cls=CLASSIFIER)
CLASSES = dict(det={"bbox_head": 3}, seg={"decode_head": 5}, cls={"head": 3})
LAYERS = dict(det="bbox_head.retina_cls", seg="decode_head.conv_seg", cls="head.fc")


def test_models(task):
    cfg = MODELS[task.name]
    assert tasks.of_model(cfg) is task
    assert tasks.of_model(dict(type="Mine", inside=[cfg])) is task  # by what is inside
    assert tasks.of_model(dict(type=task.architecture, model="anything")) is task
    built = tiny.build(cfg)
    assert tasks.of_built(built) is task
    assert task.class_heads(built) == CLASSES[task.name]
    axis = task.class_axis(built, LAYERS[task.name])
    assert axis is not None and axis.classes == next(iter(CLASSES[task.name].values()))
    assert task.class_axis(built, "backbone.layer4") is None
    assert task.batch_augmentation(built) is None
    assert any(need in task.loaded_by for need in inspect.signature(built.forward_train).parameters)


def test_a_class_of_ones_own_is_told_by_its_base_or_its_parts():
    class Mine(type(tiny.build(CLASSIFIER))):
        pass

    model = Mine(**{k: v for k, v in CLASSIFIER.items() if k != "type"})
    assert tasks.of_built(model).name == "cls"
    for part, name in (("decode_head", "seg"), ("bbox_head", "det"), ("anything", "det")):
        model = nn.Module()
        model.add_module(part, nn.Linear(1, 1))
        assert tasks.of_built(model).name == name
    assert tasks.of_model(dict(type="Mine")) is None


def test_parts_of_others_do_not_decide():
    """A detector of one's own round a backbone of mmcls is no classifier."""
    cfg = dict(type="Mine", backbone=dict(type="mmcls.ConvNeXt"), bbox_head=dict(type="RetinaHead"))
    assert tasks.of_model(cfg).name == "det"


def test_the_models_of_several_hosts_go_by_their_scope():
    for package, name in (("mmseg", "seg"), ("mmdet", "det")):
        assert tasks.of_model(dict(type=f"{package}.ResNet")).name == name


def test_data_sets_are_told_by_their_classes():
    from mmcls.datasets import BaseDataset, RepeatDataset
    from mmdet.datasets import CocoDataset
    from mmseg.datasets import CustomDataset

    for kind, name in ((CocoDataset, "det"), (CustomDataset, "seg"), (BaseDataset, "cls")):
        mine = type("Mine", (kind,), dict(load_annotations=None))
        dataset = mine.__new__(mine)
        assert tasks.of_dataset(dataset).name == name
        wrapped = SimpleNamespace(dataset=dataset)
        assert tasks.of_dataset(SimpleNamespace(datasets=[wrapped])).name == name
    assert tasks.of_dataset(object()).name == ""  # of nobody: the common answers
    assert not tasks.get("cls").can_evaluate(RepeatDataset.__new__(RepeatDataset))


# --------------------------------------------------------------------------- what batches hold
def test_batches():
    det, seg, cls = tasks.every()
    boxes = dict(gt_bboxes=[torch.zeros(2, 4), torch.zeros(0, 4)],
                 gt_labels=[torch.tensor([1, 5]), torch.zeros(0, dtype=torch.long)])  # fmt: skip
    assert (det.told(boxes), det.labels(boxes), det.why_empty(boxes)) == ("2 boxes", [5], None)
    boxes["gt_bboxes"] = boxes["gt_bboxes"][1:]
    assert "No image of the batch has a box" in det.why_empty(boxes)[0]
    maps = dict(gt_semantic_seg=torch.tensor([[[[0, 3], [255, 255]]]]))
    assert seg.told(maps) == "maps of labels" and seg.labels(maps) == [3]
    assert seg.labels(dict(gt_semantic_seg=torch.full((1, 1, 2, 2), 255))) == []
    labels = dict(gt_label=torch.tensor([1, 0, 1]))
    assert cls.told(labels) == "3 labels, 2 different" and cls.labels(labels) == [1, 0, 1]
    assert cls.labels(dict(gt_label=torch.zeros(3, 4))) == []  # soft ones are no numbers
    assert cls.told({}) == "no labels" and cls.labels({}) == []


def test_what_a_classifier_does_to_its_batches_can_be_done_once():
    mixup = dict(type="BatchMixup", alpha=1.0, num_classes=3, prob=1.0)
    built = tiny.build(dict(CLASSIFIER, train_cfg=dict(augments=mixup)))
    found = tasks.get("cls").batch_augmentation(built)
    assert found.what == "BatchMixup"
    data = dict(img=torch.randn(4, 3, 8, 8), gt_label=torch.tensor([0, 1, 2, 1]), img_metas=[])
    np.random.seed(0)
    torch.manual_seed(0)
    mixed = found.apply(data)
    torch.manual_seed(0)
    weight, order = np.random.RandomState(0).beta(1.0, 1.0), torch.randperm(4)
    both = weight * data["img"] + (1 - weight) * data["img"][order]
    torch.testing.assert_close(mixed["img"], both)
    hard = nn.functional.one_hot(data["gt_label"], 3)
    torch.testing.assert_close(
        mixed["gt_label"].float(), (weight * hard + (1 - weight) * hard[order]).float()
    )
    assert mixed["img_metas"] is data["img_metas"] and data["gt_label"].dim() == 1
    found.remove()
    assert tasks.get("cls").batch_augmentation(built) is None


# --------------------------------------------------------------------------- taps
@pytest.mark.parametrize(
    ("head", "path"),
    [
        (dict(type="LinearClsHead", in_channels=8), "head.fc"),
        (dict(type="VisionTransformerClsHead", in_channels=8), "head.layers.head"),
        (dict(type="mmcls.DeiTClsHead", in_channels=8), "head.layers.head"),
        (dict(type="StackedLinearClsHead", in_channels=8, mid_channels=[6, 6]), "head.layers.2.fc"),
    ],
)
def test_where_logits_are(head, path):
    """Oracle: the layer that is there, and gives as many numbers as there are classes."""
    cls = tasks.get("cls")
    assert cls.tap("logits", dict(head=head)) == path and cls.tap("neck", {}) == "neck"
    built = cls.host("models").build_head(dict(head, num_classes=5))
    holder = nn.Module()
    holder.head = built
    layer = holder.get_submodule(path)
    assert isinstance(layer, nn.Linear) and layer.out_features == 5
    assert cls.class_axis(holder, path).classes == 5


@pytest.mark.parametrize(
    ("head", "feats"),
    [
        (dict(type="LinearClsHead"), lambda x: (x,)),
        (dict(type="VisionTransformerClsHead", hidden_dim=6), lambda x: ([x, x],)),
        (dict(type="MultiLabelLinearClsHead"), lambda x: (x,)),
    ],
)
def test_a_head_that_is_run_alone_gives_its_logits(head, feats):
    torch.manual_seed(0)
    cls, holder = tasks.get("cls"), nn.Module()
    holder.head = cls.host("models").build_head(dict(head, num_classes=5, in_channels=8))
    run, x = cls.run_head(holder, "head"), torch.randn(2, 8)
    found = run(feats(x), [])
    layer = holder.head.fc if hasattr(holder.head, "fc") else holder.head.layers.head
    hidden = holder.head.pre_logits(feats(x)) if hasattr(holder.head, "layers") else x
    torch.testing.assert_close(found, layer(hidden))


# --------------------------------------------------------------------------- errors
def test_a_host_that_is_missing_is_named_with_the_remedy(task, monkeypatch):
    def refuse(name, *_, **__):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("freekd.tasks.base.importlib.import_module", refuse)
    with pytest.raises(TaskError, match=f"task='{task.name}'.*{task.wheel}.*tools/setup_env.sh"):
        task.host("models")


def test_without_mmcls_the_others_still_work(monkeypatch):
    monkeypatch.setattr(type(tasks.get("cls")), "installed", lambda self: False)
    assert tasks.of_model(tiny.detector()).name == "det"
    assert tasks.of_model(CLASSIFIER) is None


@pytest.mark.parametrize("name", ["pose", None, ["det"], 3])
def test_no_such_task(name):
    with pytest.raises(TaskError, match=r"task: expected one of \('det', 'seg', 'cls'\), got"):
        tasks.get(name)


def test_results_of_another_kind_are_refused():
    cls = tasks.get("cls")
    scores = np.full((1, 4), 0.25, np.float32)

    def model(*_, **__):
        return [scores[0]]

    agreement = cls.onnx_agreement(model, [scores + 1e-6], torch.zeros(1, 3, 8, 8), {})
    assert agreement[:3] == ("classes", 4, 4)
    with pytest.raises(TaskError, match=r"torch gives \(4,\) scores, onnxruntime \(3,\)"):
        cls.onnx_agreement(model, [scores[:, :3]], torch.zeros(1, 3, 8, 8), {})
