"""Hooks of the training run: seeds for exact resume, progress for humans, prompts for stage 2.

Importing this module registers them in mmcv's HOOKS, so :func:`freekd.compat.apply` comes first.
"""

import json
import math
import os
import random
import time
from typing import Any, Dict, List, Optional

import numpy as np
import torch
from mmcv.runner import HOOKS, Hook, get_dist_info

from freekd.config.errors import ConfigError
from freekd.engine.seeds import derive_seed
from freekd.fileio import atomic_write_text
from freekd.prompts.file import describe


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside a (distributed) data-parallel wrapper."""
    return getattr(model, "module", model)


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed the generators that the model draws from, before every training iteration.

    Dropout and the samplers of RoI heads then depend on (seed, iteration, rank) alone, so that a
    resumed run draws what the uninterrupted one drew. Also tells the loader which epoch it is.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_epoch(self, runner: Any) -> None:
        set_epoch = getattr(runner.data_loader.batch_sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(runner.epoch)

    def before_train_iter(self, runner: Any) -> None:
        seed = derive_seed(self.seed, runner.iter, runner.rank, 1)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)  # of the GPUs too


@HOOKS.register_module()
class DistillScheduleHook(Hook):
    """Tell the distiller which iteration it is, for terms with ``start``, ``stop`` or ``warmup``.

    ``tools/train.py`` adds it to a pair that has such a term. It keeps nothing: what it says comes
    from the runner's counters, in a resumed run too.
    """

    def before_run(self, runner: Any) -> None:
        bare = unwrap(runner.model)
        for note in prepare_schedules(bare, runner.max_iters, runner.max_epochs):
            runner.logger.warning(note)
        schedules = schedules_of(bare)
        if schedules is None:
            return
        for name in schedules:
            runner.logger.info(f"{name} {schedules.told(name)}")
        comparing = bare.distiller.comparing
        idle = schedules.idle(comparing) if comparing else None
        if idle is not None:
            runner.logger.info(
                f"no term acts in iteration {idle + 1}: there, and wherever it is so, the teacher "
                "does not run"
            )

    def before_train_iter(self, runner: Any) -> None:
        schedules = schedules_of(unwrap(runner.model))
        if schedules is None:
            return
        schedules.tell(runner.iter)
        for line in schedules.changes(runner.iter):
            runner.logger.info(line)


def schedules_of(model: torch.nn.Module) -> Any:
    """When the terms of a bare model's distiller act; None where all of them always do."""
    return getattr(getattr(model, "distiller", None), "schedules", None) or None


def prepare_schedules(
    model: torch.nn.Module, iterations: int, epochs: Optional[int] = None
) -> List[str]:
    """Tell the terms that do not always act how long the run is.

    Args:
        model: The bare model.
        iterations: Of the whole run.
        epochs: Of the whole run; None where the runner counts iterations.

    Returns:
        What is worth a warning.

    Raises:
        ConfigError: a time that does not fit the run, see :mod:`freekd.distill.schedule`.
    """
    from freekd.distill.schedule import Run

    schedules = schedules_of(model)
    if schedules is None:
        return []
    try:
        notes: List[str] = schedules.prepare(Run(iterations, epochs))
    except ValueError as error:
        raise ConfigError(f"{error}.") from error
    idle = schedules.idle(list(model.distiller.losses))
    if idle is not None and not getattr(model, "with_student_loss", True):
        raise ConfigError(
            f"algorithm.with_student_loss=False: no term of the distiller acts in iteration "
            f"{idle + 1}, so the student would have nothing to learn from. Remove the key, or "
            "start and stop of one term."
        )
    return notes


@HOOKS.register_module()
class ProgressHook(Hook):
    """Write ``work_dir/progress.json`` at most once a second: where the run is, when it ends.

    ``{"iter", "max_iters", "seconds", "eta_seconds", "loss"}``; seconds count this process only.
    A loss that is not finite stops the run: nothing after it would be worth waiting for.
    """

    def __init__(self, interval: float = 1.0, filename: str = "progress.json") -> None:
        self.interval = interval
        self.filename = filename
        self._start = self._written = 0.0
        self._first_iter = 0

    def before_run(self, runner: Any) -> None:
        self._start = time.monotonic()
        self._first_iter = runner.iter
        self._write(runner, runner.iter, None)

    def after_train_iter(self, runner: Any) -> None:
        outputs: Dict[str, Any] = getattr(runner, "outputs", None) or {}
        loss = outputs.get("log_vars", {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise FloatingPointError(
                f"The loss is {loss} at iteration {runner.iter + 1}: "
                f"{_losses(outputs['log_vars'])}. Expected a finite number. Lower the learning "
                "rate or the weight of the term that is not finite, or set "
                "optimizer_config.grad_clip, and resume from the last checkpoint."
            )
        if time.monotonic() - self._written >= self.interval:
            self._write(runner, runner.iter + 1, loss)

    def after_run(self, runner: Any) -> None:
        outputs = getattr(runner, "outputs", None) or {}
        self._write(runner, runner.iter, outputs.get("log_vars", {}).get("loss"))

    def _write(self, runner: Any, done: int, loss: Optional[float]) -> None:
        if runner.rank != 0:
            return
        self._written = time.monotonic()
        seconds = self._written - self._start
        total = runner.max_iters
        eta = None
        if done > self._first_iter and total is not None:
            eta = round(seconds / (done - self._first_iter) * (total - done), 1)
        record = dict(
            iter=done, max_iters=total, seconds=round(seconds, 1), eta_seconds=eta, loss=loss
        )
        atomic_write_text(os.path.join(runner.work_dir, self.filename), json.dumps(record) + "\n")


def _losses(log_vars: Dict[str, float]) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in log_vars.items() if "loss" in name)


@HOOKS.register_module()
class SavePromptsHook(Hook):
    """Stage 1: write the prompt file with every checkpoint and at the end (rank 0).

    The checkpoints' meta also says what the prompts are for and which teacher they are trained in
    (``prompts``), so that ``tools/model_converters/extract_prompts.py`` needs nothing else.

    Args:
        interval: Of the checkpoints, in epochs or iterations; -1 for the end only.
        by_epoch: Unit of the interval.
        filename: In the work dir.
    """

    def __init__(
        self, interval: int = -1, by_epoch: bool = True, filename: str = "prompts.pth"
    ) -> None:
        self.interval = interval
        self.by_epoch = by_epoch
        self.filename = filename

    def before_run(self, runner: Any) -> None:
        if get_dist_info()[0] == 0:
            teacher = unwrap(runner.model).architecture
            runner.meta["prompts"] = describe(teacher.prompts, teacher.prompt_info())

    def _save(self, runner: Any) -> None:
        if get_dist_info()[0] == 0:
            path = os.path.join(runner.work_dir, self.filename)
            unwrap(runner.model).save_prompts(path)

    def after_train_epoch(self, runner: Any) -> None:
        if self.by_epoch and self.every_n_epochs(runner, self.interval):
            self._save(runner)

    def after_train_iter(self, runner: Any) -> None:
        if not self.by_epoch and self.every_n_iters(runner, self.interval):
            self._save(runner)

    def after_run(self, runner: Any) -> None:
        self._save(runner)
        if runner.rank == 0:
            path = os.path.join(runner.work_dir, self.filename)
            runner.logger.info(f"prompts saved to {path}")


def evaluate_at_the_end(hook: Any) -> None:
    """Let mmcv's evaluation hook run after the last epoch or iteration, whatever its interval."""
    every_interval = hook._should_evaluate

    def should_evaluate(runner: Any) -> bool:
        last = hook.is_last_epoch(runner) if hook.by_epoch else hook.is_last_iter(runner)
        return bool(last or every_interval(runner))

    hook._should_evaluate = should_evaluate
