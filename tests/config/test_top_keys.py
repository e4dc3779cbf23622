"""Wild values of a config's own keys: a word about the key, never a traceback."""

import pytest
from mmcv import Config

from freekd import compat

compat.apply()

from freekd.config import top_keys
from freekd.config.errors import ConfigError
from freekd.engine.train import main

WILD = (3, -1, "x", "", True, [], ["x"], {}, {"type": "Nope"}, 2.5, float("nan"), None)
RIGHT = {
    "optimizer": ({}, {"type": "Nope"}),
    "runner": ({}, {"type": "Nope"}, None),
    "data": ({}, {"type": "Nope"}, None),
    "evaluation": ({}, {"type": "Nope"}, None),
    "seed": (3, None),
    "log_level": (3, -1),
    "workflow": ([], None),
    "resume_from": ("x", None),
    "deterministic": (True,),
    "load_from_min_share": (),
    "checkpoint_config": ({}, {"type": "Nope"}, None),
}


@pytest.mark.parametrize("key", list(RIGHT))
def test_each_kind_is_checked(key):
    for value in WILD:
        fits = any(value is right or value == right and type(value) is type(right)
                   for right in RIGHT[key])  # fmt: skip
        cfg = Config({key: value})
        if fits:
            top_keys.check(cfg)
        else:
            with pytest.raises(ConfigError, match=f"^{key}: expected"):
                top_keys.check(cfg)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (dict(runner=dict(max_epochs="2")), "runner.max_epochs"),
        (dict(checkpoint_config=dict(interval="often")), "checkpoint_config.interval"),
        (dict(log_config=dict(interval=0)), "log_config.interval"),
        (dict(log_config=dict(hooks=dict(type="TextLoggerHook"))), "log_config.hooks"),
        (dict(evaluation=dict(interval=None)), "evaluation.interval"),
    ],
)
def test_values_inside_are_named(keys, named):
    with pytest.raises(ConfigError, match=f"^{named}: expected"):
        top_keys.check(Config(keys))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("lr_config.policy=nope", "lr_config.policy: expected one of mmcv's Fixed"),
        ("log_config.hooks.0.type=Nope", "log_config.hooks.0 "),
        ("evaluation.metric=segm", "evaluation.metric: 'segm' compares masks"),
        ("checkpoint_config.max_keep_ckpts=a", "checkpoint_config.max_keep_ckpts"),
        ("checkpoint_config.kwargs=5", "checkpoint_config: unknown keys"),
        ("custom_imports.imports=nope_nope", None),
        ("data.samples_per_gpu=10000000000", "data.samples_per_gpu: expected an integer"),
        ("model.backbone.type=nopkg.ResNet", None),
        ("runner.type=Nope", "runner "),
        ("evaluation.metric=nope", "evaluation"),
        ("checkpoint_config.nope=3", "checkpoint_config"),
        ("data.train.type=Nope", "data.train"),
        ("optimizer.type=Nope", "optimizer"),
        ("custom_hooks=3", "custom_hooks: expected a list"),
        ("seed=x", "seed: expected"),
    ],
)
def test_a_run_says_which_key(tiny, tmp_path, capsys, option, words):
    args = [tiny.config("wild"), "--device", "cpu", "--work-dir", str(tmp_path)]
    assert main([*args, "--cfg-options", option, "log_level=ERROR"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and (f"error: {words}" in error or words is None), error


def test_options_of_several_processes_do_no_harm_in_one(tiny, tmp_path):
    args = [tiny.config("one_process"), "--device", "cpu", "--work-dir", str(tmp_path)]
    options = ["runner.max_epochs=1", "evaluation.gpu_collect=True", "evaluation.tmpdir=x"]
    assert main([*args, "--cfg-options", *options]) == 0


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("class Own:\n    pass\n", "error: Own: expected text, numbers"),
        ("shortcut = len\n", "error: shortcut: expected text, numbers"),
        (
            "data['val']['classes'] = ('light', 'dark')\n",
            "data.val.classes: light, dark; the model",
        ),
        (
            "data['val']['pipeline'] = train_pipeline\n",
            "data.val: its first image cannot be loaded",
        ),
        (
            "data['val']['pipeline'] = [train_pipeline[0], dict(type='Collect', keys=['img'],"
            " meta_keys=('filename',))]\n",
            "data.val.pipeline: expected what models",
        ),
    ],
)
def test_what_a_file_can_hold_and_a_run_cannot(tiny, tmp_path, capsys, extra, words):
    args = [tiny.config("held", extra=extra), "--device", "cpu", "--work-dir", str(tmp_path)]
    assert main(args) == 1
    assert words in capsys.readouterr().err


def test_a_work_dir_that_cannot_be_made(tiny, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    args = [tiny.config("nowhere"), "--device", "cpu", "--work-dir", str(tmp_path / "file" / "x")]
    assert main(args) == 1
    assert "work_dir: expected a folder that can be made" in capsys.readouterr().err
