"""mmcv's logger hooks through ``log_config``. Oracle: the run's own ``.log.json``."""

import io
import os
import subprocess
import sys
import types
from pathlib import Path

import cloudpickle
import pytest
import torch

from freekd import compat

compat.apply()

from mmcv.runner import HOOKS, Hook

from freekd.analysis.logs import is_number, read_run
from freekd.config import load
from freekd.engine import build
from freekd.engine.train import main

REPO = Path(__file__).resolve().parents[2]
LOG = "log_config = dict(interval=1, hooks=[dict(type='TextLoggerHook'), {}])\n"
TENSORBOARD = LOG.format("dict(type='TensorboardLoggerHook')")
STAGES = {
    1: {"loss_dissimilarity", "ratio.dissimilarity", "teacher.loss_bbox", "mask_sum"},
    2: {"distiller.loss_freekd.0", "ratio.freekd", "student.loss_bbox", "loss"},
}


def run(config, work, *more):
    args = [config, "--device", "cpu", "--seed", "1", "--work-dir", str(work), *more]
    return main([str(arg) for arg in args])


def tensorboard(folder):
    """Tag -> step -> value, as TensorBoard itself reads the folder; no step may come twice."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), size_guidance=dict(scalars=0)).Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        told = [(event.step, event.value) for event in events.Scalars(tag)]
        found[tag] = dict(told)
        assert len(found[tag]) == len(told) or not tag.startswith("train/"), (tag, told)
    return found


def logged(work):
    """The same from the ``.log.json``: what mmcv writes elsewhere under a tag."""
    log = read_run(work)
    left_out = {"step", "mode", "epoch", "iter", "lr", "time", "data_time", "memory"}
    return {
        f"{mode}/{key}": {line["step"]: line[key] for line in lines if key in line}
        for mode, lines in (("train", log.train), ("val", log.val))
        for key in log.names()
        if key not in left_out and any(key in line for line in lines)
    }


def assert_same(found, expected):
    """The log rounds to five places, TensorBoard keeps float32."""
    assert set(expected) <= set(found)
    for tag, values in expected.items():
        assert found[tag] == pytest.approx(values, rel=1e-5, abs=1e-5), tag


# --------------------------------------------------------------------------- TensorBoard
@pytest.mark.parametrize("number", [1, 2])
def test_tensorboard_has_what_the_log_has(number, stage, tmp_path):
    assert run(stage(number, "tensorboard", TENSORBOARD), tmp_path) == 0
    found, expected = tensorboard(tmp_path / "tf_logs"), logged(tmp_path)
    assert_same(found, expected)
    assert {f"train/{name}" for name in STAGES[number]} <= set(expected)
    assert all(list(expected[f"train/{name}"]) == [1, 2, 3] for name in STAGES[number])
    assert list(expected["val/bbox_mAP"]) == [3]
    assert found["learning_rate"] == pytest.approx({1: 0.05, 2: 0.05, 3: 0.05})


def test_a_run_of_epochs(tiny, tmp_path):
    """Epochs of 4 iterations: scores come at the fifth and the ninth, as mmcv counts them."""
    config = tiny.config("tensorboard", extra=TENSORBOARD)
    assert run(config, tmp_path, "--cfg-options", "model.test_cfg.score_thr=0.0") == 0
    log, found = read_run(tmp_path), tensorboard(tmp_path / "tf_logs")
    assert (log.iters_per_epoch, log.notes) == (4, [])
    train = {tag: value for tag, value in logged(tmp_path).items() if tag.startswith("train/")}
    assert_same(found, train)
    assert list(train["train/loss"]) == list(range(1, 9))
    assert [line["step"] for line in log.val] == [4, 8]
    assert list(found["val/bbox_mAP"]) == [5, 9]


@HOOKS.register_module()
class StopsAt(Hook):
    """Ends a run before an iteration, when all was written that would be by then."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner):
        if runner.iter == self.at:
            next(hook.writer for hook in runner.hooks if hasattr(hook, "writer")).flush()
            raise ZeroDivisionError("stopped by the test")


def test_a_resumed_run_draws_no_step_twice(stage, tmp_path):
    """Stopped after 3 iterations, gone on from the checkpoint after 2: the third runs again."""
    extra = TENSORBOARD + "checkpoint_config = dict(interval=2)\nrunner['max_iters'] = 4\n"
    config = stage(2, "stopped", extra + "custom_hooks = [dict(type='StopsAt', at=3)]\n")
    with pytest.raises(ZeroDivisionError):
        run(config, tmp_path, "--auto-resume")
    before = tensorboard(tmp_path / "tf_logs")["train/loss"]
    assert list(before) == [1, 2, 3]
    config = stage(2, "goes_on", extra)
    assert run(config, tmp_path, "--auto-resume") == 0
    found, expected = tensorboard(tmp_path / "tf_logs"), logged(tmp_path)
    assert list(expected["train/ratio.freekd"]) == [1, 2, 3, 4]
    assert_same(found, {tag: v for tag, v in expected.items() if tag.startswith("train/")})
    assert {step: found["train/loss"][step] for step in before} == before  # exactly


def test_an_error_while_a_hook_is_set_up_names_its_key(stage, tmp_path, capsys):
    hook = "dict(type='TensorboardLoggerHook', log_dir='/dev/null/logs')"
    assert run(stage(2, "no_folder", LOG.format(hook)), tmp_path) == 1
    said = capsys.readouterr().err
    assert "log_config.hooks.1, TensorboardLoggerHook (NotADirectoryError)" in said
    assert "Traceback" not in said


def test_a_wrong_option_of_a_hook_names_its_key(stage, tmp_path, capsys):
    hook = "dict(type='TensorboardLoggerHook', folder='x')"
    assert run(stage(2, "no_option", LOG.format(hook)), tmp_path) == 1
    assert "log_config.hooks.1 (TypeError)" in capsys.readouterr().err


@pytest.mark.slow
def test_one_of_two_processes_writes(stage, tmp_path):
    config = stage(2, "two_write", TENSORBOARD)
    command = ["bash", "tools/dist_train.sh", config, "2", "--device", "cpu", "--seed", "1"]
    done = subprocess.run(
        [*command, "--work-dir", str(tmp_path)], cwd=str(REPO), capture_output=True, text=True,
        timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": f"{REPO / 'tests'}", "PYTHON": sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "tf_logs").iterdir())) == 1
    assert_same(tensorboard(tmp_path / "tf_logs"), logged(tmp_path))


def test_a_pair_keeps_the_hooks_of_its_config():
    """A config that is two statements, spelled out: what a user adds is what is built."""
    hooks = [dict(type="TextLoggerHook"), dict(type="TensorboardLoggerHook", log_dir="x")]
    for name in ("prompt", "freekd"):
        (path, *_) = sorted(Path(REPO / "configs" / name).glob("*digits*.py"))
        cfg = load.load_config(str(path), dict(log_config=dict(interval=3, hooks=hooks)))
        assert cfg.get("algorithm") is not None
        assert [dict(hook) for hook in cfg.log_config.hooks] == hooks


# --------------------------------------------------------------------------- WandB and MLflow
class Recorder(types.ModuleType):
    """Stands for a package: notes every function that is called on it, and how."""

    def __init__(self, name):
        super().__init__(name)
        self.calls = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            return Recorder(name)

        return call

    def of(self, name):
        return [(args, kwargs) for called, args, kwargs in self.calls if called == name]


def by_tag(calls):
    """Tag -> step -> value, of calls that had a dict and a step."""
    found = {}
    for (values, *_), options in calls:
        for tag, value in values.items():
            if is_number(value):
                found.setdefault(tag, {})[options["step"]] = value
    return found


@pytest.mark.parametrize("number", [1, 2])
def test_wandb_is_told_what_the_log_has(number, stage, tmp_path, monkeypatch):
    wandb = Recorder("wandb")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    hook = "dict(type='WandbLoggerHook', init_kwargs=dict(project='freekd', name='pair'))"
    assert run(stage(number, "wandb", LOG.format(hook)), tmp_path) == 0
    assert wandb.of("init") == [((), dict(project="freekd", name="pair"))]
    found = by_tag(wandb.of("log"))
    assert_same(found, logged(tmp_path))
    assert {f"train/{name}" for name in STAGES[number]} <= set(found)
    assert len(wandb.of("log_artifact")) == 1
    assert wandb.calls[-1][0] == "join"


@pytest.mark.parametrize("number", [1, 2])
def test_mlflow_is_told_what_the_log_has(number, stage, tmp_path, monkeypatch):
    mlflow, mlflow.pytorch = Recorder("mlflow"), Recorder("mlflow.pytorch")
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.pytorch", mlflow.pytorch)
    hook = "dict(type='MlflowLoggerHook', exp_name='pair', tags=dict(method='freekd'))"
    assert run(stage(number, "mlflow", LOG.format(hook)), tmp_path) == 0
    assert mlflow.of("set_experiment") == [(("pair",), {})]
    assert mlflow.of("set_tags") == [((dict(method="freekd"),), {})]
    found = by_tag(mlflow.of("log_metrics"))
    assert_same(found, logged(tmp_path))
    assert {f"train/{name}" for name in STAGES[number]} <= set(found)
    (((model, name), _),) = mlflow.pytorch.of("log_model")
    assert name == "models"
    content = io.BytesIO()  # as MLflow writes it
    torch.save(model, content, pickle_module=cloudpickle)
    content.seek(0)
    again = torch.load(content, weights_only=False)
    assert again.state_dict().keys() == model.state_dict().keys()


# --------------------------------------------------------------------------- not installed
@pytest.mark.parametrize(
    ("kind", "missing", "package"),
    [
        ("TensorboardLoggerHook", ["tensorboard", "torch.utils.tensorboard"], "tensorboard"),
        ("WandbLoggerHook", ["wandb"], "wandb"),
        ("MMDetWandbHook", ["wandb"], "wandb"),
        ("MlflowLoggerHook", ["mlflow"], "mlflow"),
    ],
)
def test_a_missing_package_is_named_before_anything_is_built(
    kind, missing, package, stage, tmp_path, monkeypatch, capsys
):
    config = stage(2, f"without_{kind}", LOG.format(f"dict(type='{kind}')"))  # may build a teacher
    for name in missing[1:]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, missing[0], None)  # as if it was not installed
    monkeypatch.setattr(build, "build_model", lambda *_: pytest.fail("a model was built"))
    assert run(config, tmp_path / "work") == 1
    said = capsys.readouterr().err
    assert f"log_config.hooks.1.type='{kind}': expected the Python package {package}" in said
    pip = f"{sys.executable} -m pip install -c {REPO / 'requirements' / 'pinned.txt'} {package};"
    assert f"it is not installed. Install it: {pip}" in said
    assert not (tmp_path / "work").exists()


def test_a_package_that_is_broken_is_not_called_missing(stage, tmp_path, monkeypatch, capsys):
    (tmp_path / "wandb.py").write_text("raise RuntimeError('of another numpy')\n")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = stage(2, "broken", LOG.format("dict(type='WandbLoggerHook')"))
    assert run(config, tmp_path / "work") == 1
    assert "package wandb, but importing it failed (of another numpy)" in capsys.readouterr().err
