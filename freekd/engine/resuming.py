"""Which earlier run a new one continues, and whether it can go on as that one would have.

Process 0 looks for the checkpoint and tells the others, so that all continue from one. What must
agree for an exact continuation (seed, size of the whole batch, config, teacher) is kept in the
checkpoint's meta and compared; a difference is named in a warning, and refused where nothing
sensible could follow.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import torch
from mmcv.runner import get_dist_info

from freekd.engine.checkpoint import CheckpointError, training_checkpoint_problem
from freekd.fileio import atomic_symlink, load_checkpoint_file

# The keys that decide what is learned (a config file has helpers, such as train_pipeline, too) ...
_SETTINGS = (
    "algorithm model data optimizer optimizer_config lr_config momentum_config runner fp16 task "
    "custom_hooks train_cfg find_unused_parameters"
).split()
# ... but these.
_WITHOUT_EFFECT = (
    "data.val data.test data.val_dataloader data.test_dataloader data.workers_per_gpu "
    "data.persistent_workers "
    + " ".join(
        f"data.train_dataloader.{name}"
        for name in "workers_per_gpu persistent_workers prefetch_factor pin_memory timeout "
        "multiprocessing_context num_gpus samples_per_gpu".split()  # the last is told by itself
    )
).split()
_KEPT = ("seed", "world_size", "samples_per_gpu", "by_epoch", "settings")


class EarlierRun(NamedTuple):
    """The checkpoint to continue from, and what its meta says about the run."""

    path: str
    meta: Dict[str, Any]


def find_earlier_run(cfg: Any, by_epoch: bool, logger: logging.Logger) -> Optional[EarlierRun]:
    """What ``resume_from`` or ``auto_resume`` of ``cfg`` lead to; the same in all processes.

    Raises:
        CheckpointError: ``auto_resume`` finds only checkpoints that count otherwise.
    """
    found: List[Optional[EarlierRun]] = [None]
    rank, world_size = get_dist_info()
    if rank == 0:
        if cfg.get("resume_from") is not None:
            content = load_checkpoint_file(cfg.resume_from)
            meta = content.get("meta") if isinstance(content, dict) else None
            found = [_earlier_run(str(cfg.resume_from), meta)]
        elif cfg.get("auto_resume"):
            found = [find_resumable(cfg.work_dir, by_epoch, logger)]
            if found[0] is None:
                logger.info("auto-resume: no checkpoint found, starting from the beginning")
            else:
                logger.info("auto-resume: %s", found[0].path)
                if (cfg.get("checkpoint_config") or {}).get("create_symlink", True):
                    _point_latest_to(Path(found[0].path))
    if world_size > 1:
        torch.distributed.broadcast_object_list(found, src=0)
    return found[0]


def _earlier_run(path: str, meta: Any) -> EarlierRun:
    return EarlierRun(path, {key: meta[key] for key in _KEPT if key in (meta or {})})


def find_resumable(work_dir: str, by_epoch: bool, logger: logging.Logger) -> Optional[EarlierRun]:
    """The newest complete checkpoint in ``work_dir``; unreadable ones are named and skipped.

    Raises:
        CheckpointError: there are checkpoints of a run that counted otherwise, and no other.
    """
    found = _numbered(work_dir, "epoch" if by_epoch else "iter")
    for path in found:
        try:
            content = load_checkpoint_file(path)
            problem = training_checkpoint_problem(content)
        except (RuntimeError, OSError) as error:
            problem = str(error)
        if problem is None:
            return _earlier_run(str(path), content["meta"])
        logger.warning("auto-resume skips %s: %s", path, problem)
    others = _numbered(work_dir, "iter" if by_epoch else "epoch")
    if others and not found:
        units = ("epochs", "iterations")
        raise CheckpointError(
            f"--auto-resume: expected checkpoints of a run that counts {units[not by_epoch]}, as "
            f"the config's runner does, but {work_dir} holds {others[0].name} of a run that counts "
            f"{units[by_epoch]}. Give this run its own --work-dir."
        )
    return None


def _point_latest_to(path: Path) -> None:
    """A run killed between its last checkpoint and this link left an older one there."""
    link = path.with_name("latest.pth")
    if link.is_symlink() or not link.exists():
        atomic_symlink(path.name, link)


def _numbered(work_dir: str, unit: str) -> List[Path]:
    """The checkpoints ``<unit>_<number>.pth``, newest first."""
    pattern = re.compile(r"^%s_(\d+)\.pth$" % unit)
    matches = [(pattern.match(path.name), path) for path in Path(work_dir).glob("*.pth")]
    numbered = [(int(match.group(1)), path) for match, path in matches if match]
    return [path for _, path in sorted(numbered, reverse=True)]


def settings_text(cfg: Any) -> str:
    """What of a config a run depends on, flat, as JSON: for the checkpoint's meta."""
    flat: Dict[str, Any] = {}

    def visit(key: str, value: Any) -> None:
        if key in _WITHOUT_EFFECT:
            return
        if isinstance(value, dict) and value:
            for name in value:
                visit(f"{key}.{name}", value[name])
        elif isinstance(value, (list, tuple)) and any(isinstance(v, dict) for v in value):
            for number, one in enumerate(value):
                visit(f"{key}.{number}", one)
        else:
            flat[key] = value

    for name in _SETTINGS:
        if cfg.get(name) is not None:
            visit(name, cfg[name])
    return json.dumps(flat, default=str, sort_keys=True)


def differences(before: str, now: str) -> List[str]:
    """``key: was A, is B`` for what differs between two results of :func:`settings_text`.

    >>> differences('{"optimizer.lr": 0.02}', '{"optimizer.lr": 0.01, "fp16": true}')
    ['fp16: was not set, is true', 'optimizer.lr: was 0.02, is 0.01']
    """
    old, new = json.loads(before), json.loads(now)

    def show(settings: Dict[str, Any], key: str) -> str:
        text = json.dumps(settings[key]) if key in settings else "not set"
        return text if len(text) <= 80 else text[:77] + "..."

    keys = sorted(key for key in {*old, *new} if old.get(key, ...) != new.get(key, ...))
    return [f"{key}: was {show(old, key)}, is {show(new, key)}" for key in keys]


def warn_of_differences(run: EarlierRun, now: Dict[str, Any], logger: logging.Logger) -> None:
    """Say what keeps this run from going on exactly as the earlier one would have.

    Args:
        run: what is continued.
        now: this run's ``seed``, ``world_size``, ``samples_per_gpu``, ``by_epoch``, ``settings``.
        logger: for the warnings.

    Raises:
        CheckpointError: one counts epochs, the other iterations.
    """
    was = run.meta
    if was.get("by_epoch", now["by_epoch"]) != now["by_epoch"]:
        units = ("iterations", "epochs")
        raise CheckpointError(
            f"Cannot resume from {run.path}: expected a checkpoint of a run that counts "
            f"{units[now['by_epoch']]}, as the config's runner does, but it counts "
            f"{units[was['by_epoch']]}. Resume with the run's own config, or start a new run from "
            "the weights by load_from."
        )
    if was.get("seed", now["seed"]) != now["seed"]:
        logger.warning(
            "resumed with seed %s, started with %s: the data goes on in another order. Leave "
            "--seed out to go on with the run's own",
            now["seed"],
            was["seed"],
        )
    processes = was.get("world_size", now["world_size"])
    images = was.get("samples_per_gpu", now["samples_per_gpu"])
    before, after = processes * images, now["world_size"] * now["samples_per_gpu"]
    if (processes, images) != (now["world_size"], now["samples_per_gpu"]):
        text = (
            f"resumed with {now['world_size']} processes of {now['samples_per_gpu']} images "
            f"(whole batch {after}), started with {processes} of {images} (whole batch {before}): "
        )
        if before == after:
            text += "the data goes on in the same order; results agree to rounding, not bitwise"
        else:
            text += (
                "the data goes on in another order, and the learning rate stays that of the old "
                "batch. To go on as before set data.samples_per_gpu so that the whole batch is "
                f"{before}"
            )
        logger.warning(text)
    if "settings" in was and was["settings"] != now["settings"]:
        found = differences(was["settings"], now["settings"])
        found = [line for line in found if not line.startswith("data.samples_per_gpu:")]
        if found:
            more = f", and {len(found) - 8} more" if len(found) > 8 else ""
            logger.warning(
                "resumed with another config than the run was started with: %s%s. It goes on with "
                "the new values%s. For a new run give another --work-dir",
                "; ".join(found[:8]),
                more,
                ", but optimizer.* stays as in the checkpoint"
                if any(line.startswith("optimizer.") for line in found)
                else "",
            )
