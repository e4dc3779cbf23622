"""The test entry behind ``tools/test.py``: evaluate a checkpoint on CPU or GPU, in any number of
processes.

A checkpoint that does not fill the whole model is an error: a score of half-loaded weights
looks like a bad method.
"""

import json
import os
import pickle
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

import torch

import freekd
from freekd import cli, compat


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/test.py``; returns the exit code."""
    compat.hide_gpus_if_asked(sys.argv[1:] if argv is None else argv)
    compat.apply()
    from freekd.config import load
    from freekd.engine import friendly, launch

    args = cli.test(argv)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    with friendly.friendly_errors() as outcome, launch.process_group(args.launcher) as distributed:
        cfg = load.load_config(args.config, cli.cfg_options(args))
        cfg.device = launch.choose_device(args.device or cfg.get("device"))
        test(
            cfg,
            args.checkpoint,
            metrics=args.eval,
            out=args.out,
            json_file=args.json,
            allow_missing=args.allow_missing,
            distributed=distributed,
            ema=args.ema,
            split=args.split,
        )
    return outcome.code


def load_for_test(
    cfg: Any, checkpoint: str, task: str, allow_missing: bool = False, ema: bool = False
) -> Tuple[Any, Dict[str, Any]]:
    """The model of ``cfg`` with the weights of ``checkpoint``, and the checkpoint's meta.

    With ``ema`` the averaged ones, see :func:`freekd.state_dict.averaged`. Of a distillation only
    the student is built: testing it needs neither teacher nor prompts.
    """
    from freekd.config import explain, load
    from freekd.engine import build
    from freekd.engine.checkpoint import CheckpointError, load_weights
    from freekd.fileio import load_checkpoint_file
    from freekd.state_dict import STUDENT_PREFIX, averaged, has_prefix, strip_module

    content = load_checkpoint_file(checkpoint)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not any(map(torch.is_tensor, state.values())):
        raise CheckpointError(
            f"Expected a checkpoint with weights in {checkpoint}, found a "
            f"{type(content).__name__} without. Give a checkpoint of the config's run."
        )
    if ema:
        with explain.building(str(checkpoint)):
            state = averaged(state, content.get("meta"), str(checkpoint))
    algorithm = cfg.get("algorithm")
    if algorithm is not None and algorithm.get("distiller") is not None:
        if has_prefix(strip_module(state), STUDENT_PREFIX):
            cfg.algorithm.distiller = None
        else:  # of --student-only, or exported
            load.keep_student_only(cfg)
    model = build.build_model(cfg, task)
    missing, _ = load_weights(
        model, state, str(checkpoint), optional=("distiller.",), allow_missing=allow_missing
    )
    if missing:
        print(f"warning: {len(missing)} weights are missing: {', '.join(missing[:4])}")
    return model, content.get("meta") or {}


def ready(model: Any, meta: Dict[str, Any], dataset: Any, device: str) -> Any:
    """``model`` on its device with the dataset's class names; warns of others in ``meta``."""
    from freekd.engine import datasets, launch

    datasets.name_classes(model, dataset)
    trained_on = meta.get("CLASSES")
    if trained_on is not None and list(trained_on) != list(dataset.CLASSES or trained_on):
        print(f"warning: trained on the classes {trained_on}, tested on {dataset.CLASSES}")
    return launch.wrap_for_test(model, device)


def prepare(
    cfg: Any,
    checkpoint: str,
    metrics: Optional[List[str]] = None,
    allow_missing: bool = False,
    distributed: bool = False,
    ema: bool = False,
    split: str = "test",
) -> Tuple[Any, Any, Dict[str, Any], str]:
    """What an evaluation needs; the arguments are those of :func:`test`.

    Returns:
        (the model on its device, the loader of the split, options for the dataset's
        ``evaluate``, the task's name).

    Raises:
        ConfigError, CheckpointError: as :func:`test`.
    """
    from freekd.config import checks
    from freekd.engine import datasets
    from freekd.engine import metrics as scoring

    task = checks.check_config(cfg, (split,))
    options = scoring.evaluate_options(cfg, metrics)
    model, meta = load_for_test(cfg, checkpoint, task, allow_missing, ema)
    loader = datasets.build_eval_loader(cfg, split, task, distributed)
    for name in scoring.check_options(loader.dataset, options):
        print(f"warning: {scoring.no_effect(name)}")
    return ready(model, meta, loader.dataset, cfg.device), loader, options, task


def test(
    cfg: Any,
    checkpoint: str,
    metrics: Optional[List[str]] = None,
    out: Optional[str] = None,
    json_file: Optional[str] = None,
    allow_missing: bool = False,
    distributed: bool = False,
    ema: bool = False,
    split: str = "test",
) -> Optional[Dict[str, float]]:
    """Evaluate ``checkpoint`` on ``data.test`` and return the metrics (on rank 0, else None).

    Args:
        cfg: An mmcv Config with ``device`` set.
        checkpoint: Of the config's own run, or student-only for a plain ``model``.
        metrics: Such as ``['bbox']``, ``['mIoU']`` or ``['accuracy']``; default:
            ``cfg.evaluation.metric``, else the dataset's own. All other options are
            ``cfg.evaluation``'s, as in training.
        out: Pickle file for the raw results.
        json_file: For the metrics, with what they were made of; written atomically.
        allow_missing: Test although weights are missing.
        distributed: The process group is there.
        ema: Test the averaged weights of a run with EMAHook.
        split: ``val``: on ``data.val`` instead.

    Raises:
        ConfigError, CheckpointError: With the key, what was expected, what came, and a remedy.
    """
    compat.apply()
    from mmcv.runner import get_dist_info

    from freekd import tasks
    from freekd.engine import metrics as scoring
    from freekd.fileio import atomic_write_bytes, atomic_write_text

    model, loader, options, task = prepare(
        cfg, checkpoint, metrics, allow_missing, distributed, ema, split
    )
    start = time.time()
    results = tasks.get(task).test(model, loader, distributed)
    seconds = time.time() - start
    if get_dist_info()[0] != 0:
        return None
    print()
    if out is not None:
        atomic_write_bytes(out, pickle.dumps(results))
    scores = scoring.evaluate(loader.dataset, results, options)
    for key in sorted(scores):
        print(f"{key}: {scores[key]:.4f}")
    if json_file is not None:
        record = dict(
            config=cfg.filename,
            checkpoint=str(checkpoint),
            task=task,
            metrics=scores,
            images=len(loader.dataset),
            seconds=round(seconds, 2),
            device=cfg.device,
            freekd_version=freekd.__version__,
        )
        atomic_write_text(json_file, json.dumps(record, indent=2) + "\n")
    return scores
