"""The work: all models on all corruptions, in one process, several, or a process group."""

import contextlib
import functools
import io
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence
from unittest import mock

import freekd
from freekd.analysis.robustness.images import Kept, corrupt_dataset
from freekd.analysis.robustness.models import Model, read_config
from freekd.config.errors import ConfigError
from freekd.words import duration

_CHILD = "import sys; from freekd.analysis.robustness.entry import main; sys.exit(main())"


def side_by_side(given: Sequence[str], jobs: int) -> int:
    """Let several processes do a part each; returns the first exit code that is not 0.

    Args:
        given: the command line.
        jobs: how many.
    """
    root = str(Path(freekd.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    variables = {"OMP_NUM_THREADS": threads, **os.environ, "PYTHONPATH": path, "FREEKD_PART": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, *given, "--jobs", "1", "--shard", f"{part}/{jobs}"],
            env=variables,
        )
        for part in range(1, jobs + 1)
    ]
    try:
        codes = [process.wait() for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return next((code for code in codes if code), 0)


def compute(args: Any, models: List[Model], kept: Any, cells: List[Any], distributed: bool) -> None:
    """Evaluate models on cells (None: the clean images); every score is kept as it comes.

    Args:
        args: of :func:`freekd.cli.robustness`.
        models: the rows.
        kept: a :class:`freekd.analysis.robustness.store.Store`.
        cells: what to do, in this order.
        distributed: all processes of the group call this alike, and share the images.
    """
    from mmcv.runner import get_dist_info

    first = get_dist_info()[0] == 0
    images = Kept()
    rows = [(model, _prepared(args, model, images, distributed)) for model in models]
    start = time.time()
    for done, cell in enumerate(cells, start=1):
        said = []
        for model, ready in rows:
            scores = kept.read(model.key, cell) if first else None
            if _all_agree(scores is None, distributed):
                for pipeline in corrupt_dataset(ready[1].dataset):
                    pipeline.cell = cell
                began = time.time()
                scores = evaluate(ready, distributed)
                if first:
                    kept.write(
                        model.key, cell, scores, name=model.name, checkpoint=model.checkpoint,
                        seconds=round(time.time() - began, 2),
                    )  # fmt: skip
            if scores is not None:  # on the first process
                value = value_of(scores, metric_of(args.metric, scores, ready[3]))
                said.append(f"{model.name} {value:.3f}")
        if first:
            left = (time.time() - start) / done * (len(cells) - done)
            what = "clean" if cell is None else f"{cell[0]} {cell[1]}"
            line = f"[{done}/{len(cells)}, {duration(left)} left] {what}: {', '.join(said)}"
            print(line, flush=True)


def _prepared(args: Any, model: Model, images: Kept, distributed: bool) -> Any:
    """As :func:`freekd.engine.test.prepare`; of what the hosts print, only warnings of ours."""
    from freekd.engine.test import prepare

    cfg, heard = read_config(args, model.config), io.StringIO()
    if args.shard[1] > 1:
        for part in (cfg.data, cfg.data.get("test_dataloader") or {}):
            if "workers_per_gpu" in part or part is cfg.data:
                part["workers_per_gpu"] = 0  # the processes are the workers
    with contextlib.redirect_stdout(heard), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ready = prepare(cfg, model.checkpoint, args.eval, False, distributed, args.ema)
    alone = getattr(ready[1], "num_workers", 0) == 0  # else workers would fill their own memory
    corrupt_dataset(ready[1].dataset, args.as_mmdet, images if alone else None)
    for line in heard.getvalue().splitlines():
        if line.startswith("warning:"):
            print(f"{model.name}: {line}")
    return ready


def _all_agree(answer: bool, distributed: bool) -> bool:
    """The first process's answer, in all of them."""
    if not distributed:
        return answer
    import torch

    shared = [answer]
    torch.distributed.broadcast_object_list(shared, src=0)
    return shared[0]


def evaluate(ready: Any, distributed: bool = False) -> Any:
    """One pass over the images, without the bars and tables that the hosts print for each.

    Args:
        ready: what :func:`freekd.engine.test.prepare` gave.
        distributed: the process group is there.

    Returns:
        The scores; None but on rank 0.
    """
    import mmcv

    from freekd import tasks
    from freekd.engine import metrics as scoring

    model, loader, options, task = ready
    quiet = functools.partial(mmcv.ProgressBar, file=io.StringIO())
    with contextlib.redirect_stdout(io.StringIO()), mock.patch.object(mmcv, "ProgressBar", quiet):
        results = tasks.get(task).test(model, loader, distributed)
        return None if results is None else scoring.evaluate(loader.dataset, results, options)


def metric_of(wanted: Optional[str], scores: Dict[str, float], task: str) -> str:
    """The score that the table shows, of those that a dataset gave.

    Args:
        wanted: ``--metric``; None: the first of the task's main scores.
        scores: by name.
        task: its name.

    Raises:
        ConfigError: it is not among them; names all.
    """
    from freekd import tasks

    names = [wanted] if wanted else [*tasks.get(task).main_scores]
    found = next((name for name in names if name in scores), None)
    if found is None and wanted and not any(scores.values()):
        return wanted  # nothing was detected: most scores are left out then
    if found is None:
        raise ConfigError(
            f"--metric: expected one of {', '.join(sorted(scores))}, which the dataset gives, got "
            f"{wanted or 'none, and the task has no main score among them'}. Name one, or ask the "
            "dataset for others by --eval."
        )
    return found


def value_of(scores: Dict[str, float], metric: str) -> float:
    """A score; 0 where nothing was detected and the dataset left it out.

    Raises:
        ConfigError: it is not there.
    """
    if metric not in scores and any(scores.values()):
        metric_of(metric, scores, "")
    return scores.get(metric, 0.0)
