"""What each method's loss costs, forward and backward, on maps of one pyramid, in one run.

``python benchmarks/loss.py --methods`` calls it. Every card that compares maps of detectors, or the
outputs of dense heads, is a row, with the card's defaults; methods are found by their cards, and
none is named. ``plain/<method>.py``, where there is one, has ``loss(ours, student, teacher)``: the
same value and gradient from the equations as they are written, which ours is compared with.
"""

import importlib
import inspect
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from measure import far_apart, peak_bytes, table, time_in_turn
from torch import Tensor, nn
from torch.nn import functional as F

from freekd.losses import Card, cards
from freekd.losses.step import DenseLevel, DenseTargets, Step
from freekd.prompts.file import save_prompts
from freekd.prompts.prompts import FrequencyPrompts
from freekd.prompts.spec import PromptSpec

Sizes = Sequence[Tuple[int, int]]
STRIDE = 8  # of the finest level: the image is so many times as large
BOXES = ((0.1, 0.2, 0.3, 0.5), (0.4, 0.1, 0.9, 0.8), (0.05, 0.6, 0.2, 0.75))  # of an image's sides
LEAST = "squared difference"  # what all are compared with
ANCHORS, CLASSES, POSITIVE = 9, 80, 1500  # of a dense head; one row in 1500 has an object

Inputs = Tuple[Any, Any, List[Tensor]]  # of the student, of the teacher; what learns


class Setting(NamedTuple):
    """What is the same for all methods."""

    sizes: Sizes
    batch: int
    channels: int
    device: str

    def maps(self, seed: int) -> List[Tensor]:
        """Random maps, one for each level."""
        torch.manual_seed(seed)
        shape = (self.batch, self.channels)
        return [torch.randn(*shape, h, w, device=self.device) for h, w in self.sizes]

    def step(self) -> Step:
        """A training step on images of the pyramid's size with some boxes; no models."""
        height, width = (STRIDE * side for side in self.sizes[0])
        sides = torch.tensor([width, height, width, height], device=self.device)
        boxes = torch.tensor(BOXES, device=self.device) * sides
        shape = (height, width, 3)
        meta = dict(img_shape=shape, pad_shape=shape, ori_shape=shape, scale_factor=1.0)
        data = dict(
            img=torch.zeros(self.batch, 3, height, width, device=self.device),
            img_metas=[meta] * self.batch,
            gt_bboxes=[boxes] * self.batch,
            gt_labels=[torch.arange(len(BOXES), device=self.device)] * self.batch,
        )
        return Step(data, nn.Identity(), nn.Identity(), DenseHeads())

    def heads(self, seed: int) -> Tuple[List[Tensor], List[Tensor]]:
        """Random classes and deltas of a dense head, lists of maps."""
        torch.manual_seed(seed)
        shapes = [(self.batch, ANCHORS, h, w) for h, w in self.sizes]

        def maps(each: int) -> List[Tensor]:
            return [torch.randn(n, a * each, h, w, device=self.device) for n, a, h, w in shapes]

        return [x - 4 for x in maps(CLASSES)], [0.1 * x for x in maps(4)]

    def inputs(self, loss: nn.Module) -> Inputs:
        """What a loss compares: two pyramids, or what two dense heads gave."""
        if getattr(loss, "takes_output", False):
            student, teacher = self.heads(0), self.heads(1)
            return student, teacher, [x.requires_grad_() for x in student[0]]
        maps = [x.requires_grad_() for x in self.maps(0)]
        return maps, self.maps(1), maps


class DenseHeads:
    """Stands for a task whose student's head was assigned its labels."""

    def dense_targets(self, step: Step, student: Any, teacher: Any) -> DenseTargets:
        """Some rows have the label 0, at the beginning of each level."""
        levels = []
        for parts in zip(student[0], teacher[0], student[1], teacher[1]):
            count, _, height, width = parts[0].shape
            rows = height * width * ANCHORS
            labels = parts[0].new_full((count, rows), CLASSES, dtype=torch.long)
            labels[:, : max(1, rows // POSITIVE)] = 0
            corners = parts[0].new_tensor([0.0, 0.0, 64.0, 64.0])
            anchors = corners.expand(count, rows, 4)
            weights = parts[0].new_ones(count, rows)
            levels.append(DenseLevel(*parts, labels, weights, anchors))
        return DenseTargets(levels, float(sum((x.labels == 0).sum() for x in levels)))


class LeftOut(Exception):
    """Why a method is no row."""


def build(card: Card, setting: Setting, folder: str) -> nn.Module:
    """The card's loss with its defaults, told channels and levels as a pair tells them.

    Raises:
        LeftOut: it is not one on maps of a neck, or on dense heads.
    """
    if card.module is None:
        raise LeftOut(f"the class {card.type} is another package's")
    if not card.maps and not getattr(card.module, "takes_output", False):
        raise LeftOut("it compares neither feature maps nor dense heads")
    if "det" not in card.tasks:
        raise LeftOut("it is not made for the pyramid of a detector")
    told: Dict[str, Any] = dict(
        student_channels=setting.channels,
        teacher_channels=setting.channels,
        num_levels=len(setting.sizes),
    )
    if "prompts" in card.needs:
        spec = PromptSpec.build(setting.channels, len(setting.sizes), 2)
        told["prompts"] = os.path.join(folder, "prompts.pth")
        save_prompts(FrequencyPrompts(spec, init_std=0.05), told["prompts"])
    has = inspect.signature(card.module).parameters
    told = {name: value for name, value in told.items() if name in has}
    return card.module(**{**card.defaults, **told}).to(setting.device)


def caller(loss: nn.Module, step: Step) -> Callable[[Any, Any], Tensor]:
    """The loss on what it compares, as a distiller calls it."""
    more = dict(step=step) if "step" in inspect.signature(loss.forward).parameters else {}
    if getattr(loss, "takes_levels", False) or getattr(loss, "takes_output", False):
        return lambda student, teacher: loss(student, teacher, **more)
    return lambda student, teacher: torch.stack(
        [loss(s, t, **more) for s, t in zip(student, teacher)]
    ).sum()


def plain_of(name: str) -> Optional[Callable[..., Tensor]]:
    """``loss`` of ``plain/<name>.py``, or None."""
    if not (Path(__file__).parent / "plain" / f"{name}.py").is_file():
        return None
    found: Callable[..., Tensor] = importlib.import_module(f"plain.{name}").loss
    return found


def squared_difference(student: List[Tensor], teacher: List[Tensor]) -> Tensor:
    """Sum over levels of the mean squared difference."""
    return torch.stack([F.mse_loss(s, t) for s, t in zip(student, teacher)]).sum()


def measure(setting: Setting, rounds: int) -> Dict[str, Any]:
    """Every method's row, and why others are none; all steps in turn."""
    losses: Dict[str, nn.Module] = {}
    values: Dict[str, Callable[[], Tensor]] = {}
    student, teacher, learning = setting.inputs(nn.Identity())
    learns = {LEAST: learning}
    values[LEAST] = partial(squared_difference, student, teacher)
    left_out: Dict[str, str] = {}
    step = setting.step()
    with tempfile.TemporaryDirectory() as folder:
        for name, card in cards().items():
            try:
                loss = build(card, setting, folder)
            except LeftOut as reason:
                left_out[name] = str(reason)
                continue
            losses[name] = loss
            if getattr(loss, "takes_output", False):
                student, teacher, learning = setting.inputs(loss)
            else:  # the same maps for all that compare maps
                student, teacher, learning = *values[LEAST].args, learns[LEAST]
            learns[name] = learning
            values[name] = partial(caller(loss, step), student, teacher)
            plain = plain_of(name)
            if plain is not None:
                learns[f"{name}, plain"] = learning
                values[f"{name}, plain"] = partial(plain, loss, student, teacher)

    def clear() -> None:
        learned = [p for loss in losses.values() for p in loss.parameters()]
        for x in (*learned, *(x for some in learns.values() for x in some)):
            x.grad = None

    def run(name: str) -> List[Tensor]:
        clear()
        torch.manual_seed(0)  # what a method draws, its plain form draws too
        result = values[name]()
        result.backward()
        return [result.detach(), *(x.grad for x in learns[name])]

    steps = {name: partial(run, name) for name in values}
    seconds = time_in_turn(steps, rounds, setting.device, warmup=1)
    memory = {name: peak_bytes(one, setting.device, clear) for name, one in steps.items()}
    sizes = {name: sum(x.numel() * x.element_size() for x in some) for name, some in learns.items()}

    def figures(name: str) -> Dict[str, Any]:
        return {
            "seconds": seconds[name]._asdict(),
            "over_squared_difference": seconds[name].median / seconds[LEAST].median,
            "extra_bytes": memory[name],
            "student_bytes": sizes[name],
            "copies": memory[name] / sizes[name],
        }

    rows: Dict[str, Any] = {}
    for name in losses:
        rows[name] = {"title": cards()[name].title, **figures(name)}
        if f"{name}, plain" in steps:
            (want, *want_grads), (value, *grads) = steps[f"{name}, plain"](), steps[name]()
            rows[name]["plain"] = {
                **figures(f"{name}, plain"),
                "over_ours": seconds[f"{name}, plain"].median / seconds[name].median,
                "value_apart": abs(float(value) - float(want)) / abs(float(want)),
                "gradient_apart": far_apart(grads, want_grads),
            }
    clear()
    return {
        "sizes": [list(size) for size in setting.sizes],
        "batch": setting.batch,
        "channels": setting.channels,
        "student_bytes": sizes[LEAST],
        LEAST.replace(" ", "_"): figures(LEAST),
        "methods": rows,
        "left_out": left_out,
    }


HEADER = ("method", "ms", "min-max", "over squared difference", "extra MB", "copies")
PLAIN_HEADER = ("plain form of", "plain ms", "ours ms", "ratio", "plain copies", "ours copies",
                "value", "gradient")  # fmt: skip


def shown(found: Dict[str, Any]) -> str:
    """The tables of :func:`measure`."""
    named = {LEAST: found[LEAST.replace(" ", "_")], **found["methods"]}
    rows = []
    for name, row in named.items():
        median, least, most = (1e3 * row["seconds"][key] for key in ("median", "least", "most"))
        rows.append(
            [
                f"`{name}`" if name in found["methods"] else name,
                f"{median:.1f}",
                f"{least:.1f}-{most:.1f}",
                f"{row['over_squared_difference']:.1f}",
                f"{row['extra_bytes'] / 1e6:.0f}",
                f"{row['copies']:.2f}",
            ]
        )
    parts = [table(rows, HEADER)]
    compared = [
        [
            f"`{name}`",
            f"{1e3 * row['plain']['seconds']['median']:.1f}",
            f"{1e3 * row['seconds']['median']:.1f}",
            f"{row['plain']['over_ours']:.1f}",
            f"{row['plain']['copies']:.1f}",
            f"{row['copies']:.1f}",
            f"{row['plain']['value_apart']:.0e}",
            f"{row['plain']['gradient_apart']:.0e}",
        ]
        for name, row in found["methods"].items()
        if "plain" in row
    ]
    if compared:
        parts.append(table(compared, PLAIN_HEADER))
    parts.append(
        "\n".join(f"not measured: `{name}`: {why}" for name, why in found["left_out"].items())
    )
    return "\n\n".join(parts)
