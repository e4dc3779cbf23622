"""What the tests of launching put into real runs, through a config's ``custom_imports``.

``Probe`` writes what one process saw to ``<folder>/rank<R>.pth``; ``Fail`` ends a process.
"""

import os
import signal
import time

import torch
from mmcv.runner import HOOKS, Hook

from freekd.distill import finetune

seen = {"evaluated": [], "tested": [], "prompts_written": 0}


def count_calls(module, name):
    original = getattr(module, name)

    def counted(*args, **kwargs):
        seen["prompts_written"] += 1
        return original(*args, **kwargs)

    setattr(module, name, counted)


def record_evaluation():
    from mmdet.datasets import CocoDataset
    from mmdet.models.detectors import SingleStageDetector

    evaluate, simple_test = CocoDataset.evaluate, SingleStageDetector.simple_test

    def recorded(self, results, *args, **kwargs):
        if results:  # a metric's name is tried on none
            seen["evaluated"].append(len(results))
        return evaluate(self, results, *args, **kwargs)

    def tested(self, img, img_metas, **kwargs):
        seen["tested"] += [meta["ori_filename"] for meta in img_metas]
        return simple_test(self, img, img_metas, **kwargs)

    CocoDataset.evaluate, SingleStageDetector.simple_test = recorded, tested


if "RANK" in os.environ:  # never in pytest's own process
    count_calls(finetune, "save_prompts")
    record_evaluation()


def copied(tensors):
    return {name: value.detach().clone() for name, value in tensors}


@HOOKS.register_module()
class Probe(Hook):
    """Each iteration's gradients, as the optimizer got them, and the first and last weights."""

    def __init__(self, folder):
        self.folder = folder
        self.gradients, self.losses = [], []

    def before_run(self, runner):
        self.start = copied(runner.model.module.named_parameters())

    def after_train_iter(self, runner):
        named = runner.model.module.named_parameters()
        self.gradients.append(copied((n, p.grad) for n, p in named if p.grad is not None))
        self.losses.append(dict(runner.outputs["log_vars"]))

    def after_run(self, runner):
        model = runner.model.module
        found = dict(
            gradients=self.gradients,
            losses=self.losses,
            start=self.start,
            end=copied(model.named_parameters()),
            trainable=[name for name, p in model.named_parameters() if p.requires_grad],
            **seen,
        )
        os.makedirs(self.folder, exist_ok=True)
        torch.save(found, os.path.join(self.folder, f"rank{runner.rank}.pth"))


@HOOKS.register_module()
class Fail(Hook):
    """Let process ``rank`` raise, or be killed, before iteration ``at``; ``pause`` slows a run."""

    def __init__(self, rank=None, at=1, how="raise", pause=0.0):
        self.rank, self.at, self.how, self.pause = rank, at, how, pause

    def before_train_iter(self, runner):
        time.sleep(self.pause)
        if runner.rank != self.rank or runner.iter != self.at:
            return
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError(f"made by the test in process {runner.rank}")
