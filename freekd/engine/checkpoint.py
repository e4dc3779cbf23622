"""Checkpoints of a run: which is the newest complete one, resuming exactly, loading all weights."""

import logging
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmcv.runner import get_dist_info

from freekd import compat
from freekd.engine.hooks import unwrap
from freekd.fileio import load_checkpoint_file


class CheckpointError(RuntimeError):
    """A checkpoint that does not fit what it is wanted for."""


def load_weights(
    model: torch.nn.Module,
    state_dict: Dict[str, torch.Tensor],
    source: str,
    optional: Sequence[str] = (),
    allow_missing: bool = False,
) -> Tuple[List[str], List[str]]:
    """Load ``state_dict`` and insist that it holds every weight of ``model``.

    Args:
        model: The bare model.
        state_dict: From the checkpoint.
        source: The file's name, for errors.
        optional: Prefixes of weights that may be missing.
        allow_missing: Only report what is missing.

    Returns:
        The names missing (without the optional ones) and those the model does not know.

    Raises:
        CheckpointError: Shapes differ, or weights are missing; with the share that was found.
    """
    clean = OrderedDict((re.sub(r"^module\.", "", key), value) for key, value in state_dict.items())
    if hasattr(state_dict, "_metadata"):
        clean._metadata = state_dict._metadata  # type: ignore[attr-defined]
    try:
        result = model.load_state_dict(clean, strict=False)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if "size mismatch" in line]
        raise CheckpointError(
            f"{source} does not fit the model: expected the model's shapes, came "
            f"{len(lines)} others. {' '.join(lines[:3]) or error} "
            "Use the config that the checkpoint was trained with."
        ) from error
    buffers = {name for name, _ in model.named_buffers()}  # mmcv saves non-persistent ones too
    unknown = [key for key in result.unexpected_keys if key not in buffers]
    missing = [key for key in result.missing_keys if not key.startswith(tuple(optional))]
    if missing and not allow_missing:
        wanted = [
            key
            for key in model.state_dict()
            # counters that torch fills in for files older than them
            if not key.startswith(tuple(optional)) and not key.endswith("num_batches_tracked")
        ]
        found = len(set(wanted) - set(missing))
        raise CheckpointError(
            f"{source} holds {found} of the model's {len(wanted)} weights "
            f"({found / max(len(wanted), 1):.0%}). Missing, for example: {', '.join(missing[:4])}. "
            + (f"The file has instead: {', '.join(unknown[:4])}. " if unknown else "")
            + _remedy(missing, unknown)
        )
    return missing, unknown


def _remedy(missing: Sequence[str], unknown: Sequence[str]) -> str:
    if any(key.startswith("architecture.") for key in unknown):
        return (
            "It is a checkpoint of a distillation or prompt run and the config names a plain "
            "model: test it with the config it was trained with, or make a student-only file by "
            "python tools/model_converters/convert_kd_ckpt_to_student.py CKPT --out-path OUT."
        )
    if any(key.startswith("architecture.") for key in missing) and unknown:
        return (
            "It is a plain model's checkpoint and the config names an algorithm: use the "
            "config of the plain model."
        )
    return "Use the config that the checkpoint was trained with, or --allow-missing to test anyway."


def _is_training_checkpoint(content: Any) -> Optional[str]:
    """None if a run can go on from ``content``, else what is wrong with it."""
    if not isinstance(content, dict):
        return f"it holds a {type(content).__name__}"
    lacking = [key for key in ("meta", "state_dict", "optimizer") if key not in content]
    if lacking:
        return f"it has no {', '.join(lacking)}"
    if not {"epoch", "iter"} <= set(content["meta"]):
        return "its meta has no epoch and iter"
    return None


def find_resumable(work_dir: str, by_epoch: bool, logger: logging.Logger) -> Optional[str]:
    """The newest complete checkpoint in ``work_dir``; unreadable ones are named and skipped."""
    pattern = re.compile(r"^%s_(\d+)\.pth$" % ("epoch" if by_epoch else "iter"))
    numbered = [(pattern.match(path.name), path) for path in Path(work_dir).glob("*.pth")]
    found = sorted(((int(m.group(1)), path) for m, path in numbered if m), reverse=True)
    for _, path in found:
        try:
            problem = _is_training_checkpoint(load_checkpoint_file(path))
        except (RuntimeError, OSError) as error:
            problem = str(error)
        if problem is None:
            return str(path)
        logger.warning("auto-resume skips %s: %s", path, problem)
    return None


def resume(runner: Any, path: str) -> None:
    """Set model, optimizer and counters of ``runner`` to those in the checkpoint ``path``.

    Unlike mmcv's ``resume`` this checks that every weight comes back, counts iterations right for
    both kinds of runner, and does not execute the config text that a checkpoint carries.
    """
    content = load_checkpoint_file(path)
    problem = _is_training_checkpoint(content)
    if problem is not None:
        raise CheckpointError(
            f"Cannot resume from {path}: expected a checkpoint with weights, optimizer and "
            f"counters, but {problem}. To start a new run from its weights set load_from in the "
            "config instead."
        )
    load_weights(unwrap(runner.model), content["state_dict"], path)
    try:
        runner.optimizer.load_state_dict(content["optimizer"])
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"Cannot resume from {path}: its optimizer state does not fit ({error}). Expected the "
            "same optimizer and the same trainable parameters. Resume with the run's own config, "
            "or start a new run from the weights by load_from."
        ) from error
    meta = content["meta"]
    by_epoch = runner._max_epochs is not None
    runner._epoch = int(meta["epoch"]) if by_epoch else 0
    runner._iter = runner._inner_iter = compat.iterations_done(meta, by_epoch)
    for key in ("hook_msgs", "fp16"):  # best score so far; loss scaler
        if key in meta:
            runner.meta[key] = meta[key]
    if int(meta.get("world_size", get_dist_info()[1])) != get_dist_info()[1]:
        runner.logger.warning(
            "resumed with %d processes, started with %s: the order of the data goes on exactly "
            "only if the whole batch is of the same size",
            get_dist_info()[1],
            meta["world_size"],
        )
    runner.logger.info("resumed from %s: epoch %d, iteration %d", path, runner.epoch, runner.iter)
