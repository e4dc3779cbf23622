"""Hooks of stock configs and of users in a pair. Oracle: the plain student under the same hook."""

from types import SimpleNamespace

import pytest
import torch
from mmcv.runner import HOOKS, Hook

from freekd import compat

compat.apply()

from freekd.config import (
    load,
    stock_hooks,
)
from freekd.config.errors import ConfigError
from freekd.convert.output import ConversionError
from freekd.convert.student import convert_student
from freekd.engine.test import main as run_test
from freekd.engine.train import main, train
from freekd.fileio import load_checkpoint_file

TOOD = "mmdet::tood/tood_r50_fpn_1x_coco.py"
YOLOX = "mmdet::yolox/yolox_tiny_8x8_300e_coco.py"
PAIR = f"""
pair = dict(teacher="{TOOD}", student=dict(config="{TOOD}", bbox_head=dict(num_classes=2)),
            losses=dict(freekd=dict(loss_weight=1)))
model = None
"""
EPOCHS = """
runner = dict(type="EpochBasedRunner", max_epochs=2)
optimizer = dict(type="SGD", lr=0.001)
checkpoint_config = dict(interval=1)
evaluation = dict(interval=5, metric="bbox")
"""


def types(cfg):
    return [hook["type"] for hook in cfg.get("custom_hooks") or ()]


# --------------------------------------------------------------------------- they come along
def test_the_students_stock_hooks_come_along(tiny):
    cfg = load.load_config(tiny.config("tood_pair", extra=PAIR))
    assert types(cfg) == ["SetEpochInfoHook"]  # as mmdet/configs/tood says
    student = PAIR.replace(f'student=dict(config="{TOOD}", ', f'student=dict(config="{YOLOX}", ')
    cfg = load.load_config(tiny.config("yolox_pair", extra=student))
    assert types(cfg) == ["YOLOXModeSwitchHook", "SyncNormHook", "ExpMomentumEMAHook"]
    plain = f'model = dict(_delete_=True, config="{TOOD}")\n'
    path = tiny.config("tood_plain", extra=plain.replace("_delete_=True, ", ""))
    assert types(load.load_config(path)) == ["SetEpochInfoHook"]
    again = PAIR + "custom_hooks = [dict(type='SetEpochInfoHook', priority=30)]\n"
    cfg = load.load_config(tiny.config("tood_own", extra=again))
    assert [dict(hook) for hook in cfg.custom_hooks] == [dict(type="SetEpochInfoHook", priority=30)]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("None", []),
        ("dict(YOLOXModeSwitchHook=None, SyncNormHook=None)", ["ExpMomentumEMAHook"]),
        (
            "dict(SyncNormHook=dict(interval=3), ExpMomentumEMAHook=None)",
            ["YOLOXModeSwitchHook", "SyncNormHook"],
        ),
    ],
)
def test_stock_hooks_says_which(tiny, said, found):
    extra = PAIR.replace(f'student=dict(config="{TOOD}", ', f'student=dict(config="{YOLOX}", ')
    cfg = load.load_config(tiny.config("which", extra=f"{extra}stock_hooks = {said}\n"))
    assert types(cfg) == found
    hooks = cfg.get("custom_hooks") or ()
    changed = [hook.get("interval") for hook in hooks if hook.type == "SyncNormHook"]
    assert changed == ([3] if len(found) == 2 else [])
    written = tiny.root / "written.py"
    written.write_text(cfg.pretty_text)  # what a run writes down reads the same
    assert types(load.load_config(str(written))) == types(cfg)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (
            "stock_hooks = dict(YOLOXModeSwitchHook=None)",
            "stock_hooks.YOLOXModeSwitchHook.*SetEpoch",
        ),
        ("stock_hooks = ['SetEpochInfoHook']", "stock_hooks: expected None"),
        (
            "stock_hooks = dict(SetEpochInfoHook=3)",
            "stock_hooks.SetEpochInfoHook: expected None or",
        ),
        ("custom_hooks = dict(type='SetEpochInfoHook')", "custom_hooks: expected a list"),
    ],
)
def test_what_stock_hooks_must_not_say(tiny, extra, words):
    with pytest.raises(ConfigError, match=words):
        load.load_config(tiny.config("wrong_hooks", extra=f"{PAIR}{extra}\n"))


def test_a_stock_config_trained_by_its_name(tiny):
    """``tools/train.py mmdet::yolox/...``: its hooks are its own; the key means them as well."""
    cfg = load.load_config(YOLOX, {"stock_hooks.SyncNormHook": None})
    assert types(cfg) == ["YOLOXModeSwitchHook", "ExpMomentumEMAHook"]
    cfg = load.load_config(YOLOX, {"stock_hooks.YOLOXModeSwitchHook.num_last_epochs": 3})
    assert [hook.get("num_last_epochs") for hook in cfg.custom_hooks] == [3, 15, None]


class Settable:
    """A detector with the parts that mmdet's hooks reach for."""

    bbox_head = SimpleNamespace(use_l1=False)

    def set_epoch(self, epoch):
        self.epoch = epoch


@HOOKS.register_module(force=True)
class OwnSwitchHook(HOOKS.get("YOLOXModeSwitchHook")):
    """A user's own: what it inherits is wanted of it, too."""


@pytest.mark.parametrize(
    ("hook", "by_epoch", "words"),
    [
        (dict(type="YOLOXModeSwitchHook"), True, "MultiImageMixDataset.*data.train is a object"),
        (dict(type="SetEpochInfoHook"), False, "start of each epoch.*EpochBasedRunner"),
        (dict(type="SyncRandomSizeHook"), True, "multiscale_mode='range'"),
        (dict(type="RFSearchHook"), True, "rebuilds the layers"),
        (dict(type="SetEpochInfoHok"), True, "nearest: .'SetEpochInfoHook'"),
        (dict(type="EMAHook", priority="NORML"), True, "custom_hooks, EMAHook.priority"),
        (dict(type="EMAHook", resume_from="x.pth"), True, "resume_from.*--resume-from"),
        (dict(type="mmdet.SetEpochInfoHook"), True, "no hook of this type.*'SetEpochInfoHook'"),
        (dict(type="OwnSwitchHook"), True, "MultiImageMixDataset"),
        ("EMAHook", True, "expected dicts with a hook's 'type'"),
    ],
)
def test_hooks_that_cannot_run_are_refused_before_training(hook, by_epoch, words):
    cfg = SimpleNamespace(get=lambda *_: [hook])
    with pytest.raises(ConfigError, match=words) as error:
        stock_hooks.check_hooks(cfg, Settable(), object(), by_epoch)
    if "cannot run here" in str(error.value):
        assert f"stock_hooks=dict({hook['type']}=None)" in str(error.value)


def test_one_hook_averages_and_none_in_stage_1():
    cfg = SimpleNamespace(get=lambda *_: [dict(type="EMAHook"), dict(type="ExpMomentumEMAHook")])
    with pytest.raises(ConfigError, match="expected one hook that averages.*EMAHook, ExpMoment"):
        stock_hooks.check_hooks(cfg, Settable(), object(), True)
    cfg = SimpleNamespace(get=lambda *_: [dict(type="EMAHook")])
    stage1 = SimpleNamespace(save_prompts=None)
    with pytest.raises(ConfigError, match="in stage 1"):
        stock_hooks.check_hooks(cfg, stage1, object(), False)


def test_a_model_without_the_part_is_refused():
    cfg = SimpleNamespace(get=lambda *_: [dict(type="SetEpochInfoHook")])
    stock_hooks.check_hooks(cfg, Settable(), object(), True)
    with pytest.raises(ConfigError, match="set_epoch of the model, which a object lacks"):
        stock_hooks.check_hooks(cfg, object(), object(), True)


# --------------------------------------------------------------------------- what they reach for
@HOOKS.register_module(force=True)
class ReachingHook(Hook):
    """A user's hook, written for a plain detector."""

    seen = []

    def before_train_epoch(self, runner):
        model = runner.model.module
        model.bbox_head.bbox_coder_note = f"epoch {runner.epoch}"
        model.note = runner.epoch  # new: as for a plain detector
        model.train_cfg = "changed"  # the student has it
        learns = getattr(getattr(model, "architecture", model), "model", model)
        parts = sorted(name for name, _ in model.named_modules() if name.endswith("backbone"))
        ReachingHook.seen.append(
            (model.bbox_head is learns.bbox_head, learns.train_cfg, len(parts))
        )
        assert all(p is not None for _, p in model.named_parameters())


def test_a_users_hook_finds_the_students_parts(stage, tmp_path):
    extra = EPOCHS + "custom_hooks = [dict(type='ReachingHook')]\n"
    ReachingHook.seen.clear()
    cfg = load.load_config(stage(2, "reaching", extra))
    cfg.work_dir, cfg.device, cfg.seed = str(tmp_path), "cpu", 0
    model = train(cfg, validate=False).model.module
    assert ReachingHook.seen == [(True, "changed", 1)] * 2  # one backbone: the teacher is not seen
    assert model.architecture.model.bbox_head.bbox_coder_note == "epoch 1"
    assert model.architecture.model.note == 1 and "note" not in vars(model)
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_this_name'"):
        model.nothing_of_this_name  # noqa: B018


# --------------------------------------------------------------------------- averages
@HOOKS.register_module(force=True)
class CountingHook(Hook):
    """A user's hook that keeps state in a buffer of the model."""

    def before_run(self, runner):
        runner.model.module.register_buffer("steps_seen", torch.zeros(1))

    def after_train_iter(self, runner):
        runner.model.module.steps_seen += 1 + runner.outputs["loss"].detach() * 0.1


@HOOKS.register_module(force=True)
class LazyHook(Hook):
    """One whose buffer, in a part of the detector, is there only when training begins."""

    def before_train_iter(self, runner):
        head = runner.model.module.bbox_head
        if not hasattr(head, "seen_late"):
            head.register_buffer("seen_late", torch.zeros(1))

    def after_train_iter(self, runner):
        runner.model.module.bbox_head.seen_late += runner.outputs["loss"].detach()


HOOKS_OF_USERS = {
    "mmcv": "dict(type='EMAHook', momentum=0.1)",
    "mmdet": "dict(type='ExpMomentumEMAHook', momentum=0.1, priority=49)",
    "parameters": "dict(type='LinearMomentumEMAHook', momentum=0.1, skip_buffers=True)",
    "own": "dict(type='CountingHook')",
    "late": "dict(type='LazyHook')",
}


def weights(path):
    return load_checkpoint_file(path)["state_dict"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, "epochs") for name in HOOKS_OF_USERS] + [("mmcv", "iterations"), ("own", "iterations")],
)
def test_what_hooks_keep_in_the_model_is_resumed_bitwise(stage, tmp_path, name, kind):
    extra = (EPOCHS if kind == "epochs" else "") + f"custom_hooks = [{HOOKS_OF_USERS[name]}]\n"
    config = stage(2, f"kept_{name}_{kind}", extra, norm="BN")
    args = [config, "--seed", "0", "--no-validate", "--device", "cpu", "--work-dir"]
    unit, end = ("epoch", 2) if kind == "epochs" else ("iter", 3)
    assert main([*args, str(tmp_path / "whole")]) == 0
    (tmp_path / "parts").mkdir()
    first = tmp_path / "whole" / f"{unit}_1.pth"
    (tmp_path / "parts" / first.name).write_bytes(first.read_bytes())
    assert main([*args, str(tmp_path / "parts"), "--auto-resume"]) == 0
    whole, parts = (weights(tmp_path / d / f"{unit}_{end}.pth") for d in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert [key for key in whole if not torch.equal(whole[key], parts[key])] == []
    kept = [key for key in whole if key.startswith("ema_") or key.endswith(("_seen", "seen_late"))]
    assert kept and not any("teacher" in key or "prompts" in key for key in whole)
    student = [k for k in whole if k.startswith("architecture.model.")]
    if name == "mmdet":  # one average for each tensor of student and alignment, no more
        assert len(kept) * 2 == len(whole) and len(kept) >= len(student)


def test_late_hooks_that_keep_state_are_refused(stage, tmp_path, capsys):
    extra = "custom_hooks = [dict(type='CountingHook', priority='VERY_LOW')]\n"
    args = [stage(2, "late", extra), "--no-validate", "--device", "cpu"]
    assert main([*args, "--work-dir", str(tmp_path)]) == 1
    assert "priority after LOW keeps state in the model (steps_seen)" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["epochs", "iterations"])
def test_the_tester_and_the_converter_take_the_averages(stage, tmp_path, kind, capsys):
    """Runs that count epochs save the averages as the weights, others as buffers: --ema knows."""
    extra = (EPOCHS if kind == "epochs" else "") + f"custom_hooks = [{HOOKS_OF_USERS['mmcv']}]\n"
    config = stage(2, f"average_{kind}", extra)
    args = [config, "--seed", "0", "--no-validate", "--device", "cpu", "--work-dir", str(tmp_path)]
    assert main(args) == 0
    content = load_checkpoint_file(tmp_path / "latest.pth")
    state, raw_is_plain = content["state_dict"], kind == "iterations"
    assert content["meta"]["averaged"] == ("buffers" if raw_is_plain else "weights")
    name = "architecture.model.neck.lateral_convs.0.conv.weight"
    plain, buffer = state[name], state["ema_" + name.replace(".", "_")]
    assert not torch.equal(plain, buffer)
    out = convert_student(str(tmp_path / "latest.pth"), str(tmp_path / "s.pth"), ema=True)
    short = name[len("architecture.model.") :]
    assert torch.equal(out["state_dict"][short], buffer if raw_is_plain else plain)
    assert not any(key.startswith("ema_") for key in out["state_dict"])
    tested = [config, str(tmp_path / "latest.pth"), "--device", "cpu", "--ema"]
    assert run_test(tested) == 0
    del content["meta"]["averaged"]  # of another program
    torch.save(content, str(tmp_path / "other.pth"))
    with pytest.raises(ConversionError, match="does not say which is the average"):
        convert_student(str(tmp_path / "other.pth"), str(tmp_path / "o.pth"), ema=True)
    content["state_dict"] = {k: v for k, v in state.items() if not k.startswith("ema_")}
    torch.save(content, str(tmp_path / "none.pth"))
    assert run_test([config, str(tmp_path / "none.pth"), "--device", "cpu", "--ema"]) == 1
    assert "expected averaged weights (ema_*)" in capsys.readouterr().err


def test_a_run_without_the_hook_says_what_it_leaves(stage, tmp_path, capsys):
    hook = f"custom_hooks = [{HOOKS_OF_USERS['mmcv']}]\n"
    args = ["--seed", "0", "--no-validate", "--device", "cpu", "--auto-resume", "--work-dir"]
    args += [str(tmp_path), "--cfg-options"]
    assert main([stage(2, "with_hook", hook), *args, "runner.max_iters=1"]) == 0
    assert main([stage(2, "without_hook", ""), *args, "runner.max_iters=2"]) == 0
    assert "of a hook that it had: they are left out" in capsys.readouterr().err
    assert main([stage(2, "with_it_again", hook), *args, "runner.max_iters=3"]) == 0
    assert "begin anew from its weights" in capsys.readouterr().err


def test_a_switch_of_one_epoch_is_made_again_after_it():
    """YOLOX turns to L1 in one epoch; a run that goes on after it turns, too (mmdet's does not)."""
    from freekd.engine.hook_state import HookState, NoteState

    hook = HOOKS.build(dict(type="YOLOXModeSwitchHook", num_last_epochs=2))
    for epoch, switched in ((1, False), (2, True), (3, True)):
        skipped = []
        model = SimpleNamespace(bbox_head=SimpleNamespace(use_l1=False))
        loader = SimpleNamespace(dataset=SimpleNamespace(update_skip_type_keys=skipped.append))
        runner = SimpleNamespace(
            hooks=[hook], epoch=epoch, max_epochs=4, data_loader=loader, model=model,
            logger=SimpleNamespace(info=lambda *_: None),
        )  # fmt: skip
        state = HookState(True, NoteState(), {}, "epoch_x.pth")
        hook.before_train_epoch(runner)
        state.before_train_epoch(runner)
        assert model.bbox_head.use_l1 == switched or epoch == 1
        assert bool(skipped) == (switched or epoch == 1)
        state.before_train_iter(runner)
        assert state.state is None  # the checkpoint's weights are let go
        state.before_train_epoch(runner)  # once is enough
        assert len(skipped) == (1 if epoch in (1, 2, 3) else 0)


def test_a_plain_models_averages_are_published():
    from freekd.convert.publish import published_content

    raw, mean = torch.zeros(2), torch.ones(2)
    content = dict(state_dict={"a.b": raw, "ema_a_b": mean}, meta=dict(averaged="buffers"))
    for ema, expected in ((False, raw), (True, mean)):
        state = published_content(content, "x.pth", ema)["state_dict"]
        assert list(state) == ["a.b"] and torch.equal(state["a.b"], expected)
    with pytest.raises(ConversionError, match="expected averaged weights"):
        published_content(dict(state_dict={"a.b": raw}), "x.pth", True)


def test_an_iteration_run_lets_go_of_the_checkpoint():
    """Only epochs begin with ``before_train_epoch``."""
    from freekd.engine.hook_state import HookState, NoteState

    state = HookState(False, NoteState(), {"a": torch.zeros(1)}, "iter_x.pth")
    state.before_train_iter(SimpleNamespace())
    assert state.state is None
