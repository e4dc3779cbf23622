"""What a config must say before anything of it is built.

Every error says which key, what was expected, what came, and what to do.
"""

import difflib
import os
from typing import Any, Tuple

from freekd import tasks
from freekd.config.errors import ConfigError
from freekd.config.explain import building
from freekd.config.log_hooks import check_log_hooks


def check_config(cfg: Any, splits: Tuple[str, ...] = ("train",)) -> str:
    """Check that ``cfg`` can be run and return the name of its task."""
    given = [key for key in ("model", "algorithm") if cfg.get(key) is not None]
    if len(given) != 1:
        came = "both" if given else "neither"
        raise ConfigError(
            "Expected exactly one of the config keys 'model' (a plain model of a host) and "
            "'algorithm' (mmrazor: prompts or distillation; 'pair' and 'prompt' become one), "
            f"found {came}. Remove one with model=None or add the missing one."
        )
    if cfg.get("data") is None:
        raise ConfigError(
            "Expected the config key 'data' with the datasets, found none. Add one of "
            "configs/_base_/datasets to the config's _base_."
        )
    task = decide_task(cfg)
    try:
        tasks.get(task).check_config(cfg)
    except tasks.TaskError as error:
        raise ConfigError(str(error)) from error
    for split in splits:
        if cfg.data.get(split) is None:
            raise ConfigError(
                f"Expected the config key data.{split} with a dataset, found none. Add it."
            )
        _check_files(cfg, tasks.get(task), cfg.data[split], f"data.{split}")
    return task


def check_schedule(cfg: Any) -> bool:
    """Fill what a schedule may leave out, check the rest; returns whether the run counts epochs."""
    if cfg.get("runner") is None and cfg.get("total_epochs") is not None:
        cfg.runner = dict(type="EpochBasedRunner", max_epochs=cfg.total_epochs)
    for key in ("runner", "optimizer"):
        if cfg.get(key) is None:
            raise ConfigError(
                f"Expected the config key '{key}', found none. Add one of "
                "configs/_base_/schedules to the config's _base_."
            )
    by_epoch = cfg.runner.get("max_epochs") is not None
    if by_epoch == (cfg.runner.get("max_iters") is not None):
        raise ConfigError(
            "runner: expected max_epochs (EpochBasedRunner) or max_iters (IterBasedRunner), got "
            f"{dict(cfg.runner)}. Give one of them."
        )
    _check_policy(cfg.get("lr_config"), "lr_config", "LrUpdaterHook")
    _check_policy(cfg.get("momentum_config"), "momentum_config", "MomentumUpdaterHook")
    if "checkpoint_config" not in cfg:
        cfg.checkpoint_config = dict(interval=1 if by_epoch else 1000)
    if cfg.checkpoint_config is not None:
        if cfg.checkpoint_config.get("by_epoch", by_epoch) != by_epoch:
            raise ConfigError(
                f"checkpoint_config.by_epoch: expected {by_epoch}, as the runner counts "
                f"{'epochs' if by_epoch else 'iterations'}, got {not by_epoch}: from such a "
                "checkpoint a run could not go on exactly. Remove the key."
            )
        cfg.checkpoint_config.by_epoch = by_epoch
    if "optimizer_config" not in cfg:
        cfg.optimizer_config = dict()
    if "log_config" not in cfg:
        cfg.log_config = dict(interval=10, hooks=[dict(type="TextLoggerHook")])
    check_log_hooks(cfg)
    workflow = [tuple(step) for step in cfg.get("workflow") or [("train", 1)]]
    if workflow != [("train", 1)]:
        raise ConfigError(
            f"workflow: expected [('train', 1)], got {workflow}. Remove the key: evaluation is "
            "set by the key 'evaluation'."
        )
    return by_epoch


def _check_policy(schedule: Any, key: str, suffix: str) -> None:
    """mmcv's policies are hooks: ``step`` is ``StepLrUpdaterHook``."""
    from mmcv.runner import HOOKS

    if not isinstance(schedule, dict) or "policy" not in schedule:
        return
    policy = schedule["policy"]
    known = [name[: -len(suffix)] for name in HOOKS.module_dict if name.endswith(suffix)]
    name = policy.title() if isinstance(policy, str) and policy == policy.lower() else policy
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=3)
        raise ConfigError(
            f"{key}.policy: expected one of mmcv's {', '.join(filter(None, known))}, got "
            f"{policy!r}; nearest: {', '.join(near) or 'none'}. Correct it."
        )


def _check_files(cfg: Any, task: tasks.Task, dataset: Any, key: str) -> None:
    """Every file and folder that a dataset config names must exist."""
    if isinstance(dataset, (list, tuple)):
        for number, one in enumerate(dataset):
            _check_files(cfg, task, one, f"{key}.{number}")
        return
    if not isinstance(dataset, dict):
        return
    for inner in ("dataset", "datasets"):
        if inner in dataset:
            _check_files(cfg, task, dataset[inner], f"{key}.{inner}")
    for name, path in task.files(dataset):
        if not os.path.exists(path):
            about = os.path.abspath(cfg.get("data_root") or os.sep)  # what data_help speaks of
            ours = os.path.abspath(path).startswith(about)
            remedy = (ours and cfg.get("data_help")) or (
                f"Prepare the dataset, or give its place with --cfg-options {key}.{name}=PATH"
            )
            raise ConfigError(
                f"{key}.{name}: expected a file or folder at {os.path.abspath(path)}, "
                f"found nothing. {remedy}."
            )


def decide_task(cfg: Any) -> str:
    """``cfg.task`` if given, else the task whose host has the (student) model's type.

    Raises:
        ConfigError: no such task, or no host knows the type.
    """
    name = cfg.get("task")
    if name is not None:
        try:
            return tasks.get(name).name
        except tasks.TaskError as error:
            raise ConfigError(str(error)) from error
    from freekd.zoo.stock import read_model

    key, model = "model", cfg.get("model")
    if model is None:
        model = cfg.algorithm.get("architecture", cfg.algorithm)
        if "model" in model and model.get("type") not in [t.architecture for t in tasks.every()]:
            key, model = "algorithm.architecture.model", model.model
    if isinstance(model, str) or "config" in model:
        with building(key):
            model = read_model(model, key)
    found = tasks.of_model(model)
    if found is not None:
        return found.name
    kind = model.get("type") if isinstance(model, dict) else None
    nouns = ", ".join(task.model_noun for task in tasks.every())
    hosts = ", ".join(task.package for task in tasks.every())
    keys = " or ".join(f"task={name!r}" for name in tasks.names())
    raise ConfigError(
        f"Cannot tell the task: type {kind!r} is in none of the registries of {hosts}. Expected a "
        f"model of one of them ({nouns}), or the config key {keys}. Correct the type, or add the "
        "key (and custom_imports for classes of your own)."
    )
