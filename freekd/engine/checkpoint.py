"""Checkpoints of a run: resuming exactly, loading all weights."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch

from freekd import compat
from freekd.engine.hooks import unwrap
from freekd.fileio import load_checkpoint_file
from freekd.prompts.file import fingerprint, fingerprint_of
from freekd.state_dict import strip_module


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
    clean = strip_module(state_dict)
    compat.rename_weights(model, clean)
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


def training_checkpoint_problem(content: Any) -> Optional[str]:
    """None if a run can go on from ``content``, else what is wrong with it."""
    if not isinstance(content, dict):
        return f"it holds a {type(content).__name__}"
    lacking = [key for key in ("meta", "state_dict", "optimizer") if key not in content]
    if lacking:
        return f"it has no {', '.join(lacking)}"
    if not {"epoch", "iter"} <= set(content["meta"]):
        return "its meta has no epoch and iter"
    return None


def frozen_parts(model: torch.nn.Module) -> Dict[str, Any]:
    """Fingerprints of what is frozen and comes from files, for a checkpoint's meta.

    ``teacher_fingerprint``, and ``prompt_fingerprints`` by the name of the loss; a run can only go
    on with the same ones.
    """
    distiller = getattr(model, "distiller", None)
    if hasattr(model, "save_prompts"):
        return dict(teacher_fingerprint=fingerprint(model.architecture.model))
    if distiller is None:
        return {}
    found: Dict[str, Any] = {}
    if getattr(distiller, "teacher", None) is not None:
        found["teacher_fingerprint"] = fingerprint(distiller.teacher)
    prompts = {
        name: fingerprint(loss.prompts)
        for name, loss in getattr(distiller, "losses", {}).items()
        if isinstance(getattr(loss, "prompts", None), torch.nn.Module)
    }
    return {**found, "prompt_fingerprints": prompts}


def _prompts_of(content: Any) -> Dict[str, str]:
    """Fingerprints of the prompts that a run was started with; older files carry the prompts."""
    known = content["meta"].get("prompt_fingerprints")
    if known is not None:
        return dict(known)
    old: Dict[str, Dict[str, torch.Tensor]] = {}
    for name, value in strip_module(content["state_dict"]).items():
        loss, found, rest = name.partition(".prompts.")
        if found and loss.startswith("distiller.losses."):
            old.setdefault(loss.rsplit(".", 1)[-1], {})[rest] = value
    return {loss: fingerprint_of(state) for loss, state in old.items()}


def resume(runner: Any, path: str, iters_per_epoch: Optional[int] = None) -> Dict[str, Any]:
    """Set model, optimizer and counters of ``runner`` to those in the checkpoint ``path``.

    Unlike mmcv's ``resume`` this checks that every weight comes back, counts iterations right for
    both kinds of runner, and does not execute the config text that a checkpoint carries.

    Args:
        runner: With :func:`frozen_parts` in its meta.
        path: The checkpoint.
        iters_per_epoch: Of this run; an epoch of another batch size has another number, and the
            learning rate follows the iterations.

    Returns:
        The checkpoint's state dict, for what hooks keep in the model, see
        :mod:`freekd.engine.hook_state`.

    Raises:
        CheckpointError: no checkpoint of a run; other weights, optimizer, teacher or prompts.
    """
    content = load_checkpoint_file(path)
    problem = training_checkpoint_problem(content)
    if problem is not None:
        raise CheckpointError(
            f"Cannot resume from {path}: expected a checkpoint with weights, optimizer and "
            f"counters, but {problem}. To start a new run from its weights set load_from in the "
            "config instead."
        )
    meta = content["meta"]
    teachers = [each.get("teacher_fingerprint") for each in (meta, runner.meta or {})]
    kept = any(key.startswith("distiller.teacher.") for key in content["state_dict"])
    if None not in teachers and teachers[0] != teachers[1] and not kept:
        raise CheckpointError(
            f"Cannot resume from {path}: expected the teacher that the run was started with, of "
            f"fingerprint {teachers[0]}, but its checkpoint now gives {teachers[1]} "
            "(distiller.teacher_checkpoint; in stage 1 prompt.teacher_checkpoint). Put the old "
            "file back, or start a new run from the weights by load_from."
        )
    now, before = (runner.meta or {}).get("prompt_fingerprints", {}), _prompts_of(content)
    other = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
    if other:
        what = (
            "others now" if other[0] in now and other[0] in before else "prompts where it had none"
        )
        what = what if other[0] in now else "no prompts where it had some"
        raise CheckpointError(
            f"Cannot resume from {path}: expected the prompts that the run was started with, but "
            f"{', '.join(other)} has {what} (a checkpoint leaves prompts out). Put the old "
            "prompt file back, or start a new run from the student's weights by load_from."
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
    by_epoch = runner._max_epochs is not None
    runner._epoch = int(meta["epoch"]) if by_epoch else 0
    done = compat.iterations_done(meta, by_epoch)
    if by_epoch and iters_per_epoch is not None:
        done = runner._epoch * iters_per_epoch
    runner._iter = runner._inner_iter = done
    for key in ("hook_msgs", "fp16"):  # best score so far; loss scaler
        if key in meta:
            runner.meta[key] = meta[key]
    runner.logger.info("resumed from %s: epoch %d, iteration %d", path, runner.epoch, runner.iter)
    limit = runner._max_epochs if by_epoch else runner._max_iters
    if limit is not None and (runner._epoch if by_epoch else runner._iter) >= limit:
        runner.logger.info("this run is complete: there is nothing left to train")
    state: Dict[str, Any] = content["state_dict"]
    return state
