"""What one step of a run looks like: its losses, their gradients, its time and its memory.

Nothing here updates a weight. The batches and the random numbers are those of the run's first
iterations, so that the ratios are those that its log will show.
"""

import time
from types import SimpleNamespace
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from freekd.distill.components import taps_of, weight_of
from freekd.distill.run.taps import as_levels
from freekd.engine import hooks
from freekd.losses.step import Step as LossStep
from freekd.prompts.prompts import FrequencyPrompts

_ENOUGH_SECONDS = 10.0
PROMPT_WEIGHTS = {"dissimilarity": "dissimilarity_weight", "sparsity": "sparsity"}  # of stage 1
_NOTHING = 1e-4  # a ratio per unit of weight of which no ratio worth having can be made


class Ratio(NamedTuple):
    """One term beside the task loss, before the optimizer's first step.

    Attributes:
        name: of the loss, as in the config.
        loss, ratio: the weighted term, and it over the task loss; means over the batches.
        gradient: norm of its gradient over that of the task loss, at the student's tapped maps
            (stage 1: at the prompts); None where the task has none there.
        weight: what the config gives it, None if the loss has none.
    """

    name: str
    loss: float
    ratio: float
    gradient: Optional[float]
    weight: Optional[float]

    def suggested(self, target: float) -> Optional[float]:
        """The weight that makes the ratio ``target``: a term is linear in its weight.

        None for a term without weight, or one that is almost 0 whatever its weight.
        """
        if not self.weight or not self.ratio / self.weight > _NOTHING:
            return None
        return self.weight * target / self.ratio


class Step(NamedTuple):
    """A step's losses by name, its ratios, and (first batch) the tapped maps of both models.

    ``places``: for a loss that weights places, by name, its weights and the maps' sizes.
    """

    task: float
    losses: Dict[str, float]
    ratios: List[Ratio]
    shapes: List[Tuple[str, Optional[str], List[Tuple[Tuple[int, ...], ...]]]]
    places: Dict[str, "Places"] = {}  # noqa: RUF012 (a NamedTuple's default, never changed)


class Places(NamedTuple):
    """Weights (N, h, w) for each level and group of bands, and how they were made."""

    weights: Sequence[Sequence[Tensor]]
    sizes: Sequence[Sequence[int]]  # (H, W) of each level's maps
    transform: Any
    granularity: str
    learned: bool


def seed_iteration(seed: int, iteration: int) -> None:
    """The random numbers of a run's iteration."""
    hooks.IterationSeedHook(seed).before_train_iter(SimpleNamespace(iter=iteration, rank=0))


def on_device(wrapped: Any, batch: Any) -> Dict[str, Any]:
    """A batch of the loader as the model gets it."""
    inputs, _ = wrapped.scatter((batch,), {}, wrapped.device_ids or [-1])
    data: Dict[str, Any] = inputs[0][0]
    return data


# --------------------------------------------------------------------------- losses and gradients
def plain_step(model: Any, data: Dict[str, Any]) -> Step:
    """A step of a plain model."""
    log = model.train_step(data, None)["log_vars"]
    return Step(log["loss"], _losses(log), [], [])


def distill_step(algorithm: Any, data: Dict[str, Any]) -> Step:
    """A step of stage 2, with each term's share of loss and gradient.

    A term with ``start``, ``stop`` or ``warmup`` has its whole weight.
    """
    distiller = algorithm.distiller
    if hasattr(algorithm, "augmented"):  # MMRazor's own mixes nothing by itself
        data = algorithm.augmented(data)
    distiller.exec_teacher_forward(data)
    student = distiller.exec_student_forward(algorithm.architecture, data)
    terms = distiller.compute_distill_loss(data)
    loss, log = algorithm._parse_losses(student) if student else (None, {})
    task = sum(_losses(log).values())
    sums: Dict[str, List[Tensor]] = {}  # a head that is shared by levels gives a term per call
    for name, term in terms.items():
        sums.setdefault(name.rsplit(".", 1)[0], []).append(term)
    ratios = []
    for i, component in enumerate(distiller.components):
        maps = [
            tensor
            for tap in taps_of(distiller.components)
            if tap.component == i
            for tensor in _tensors(distiller.student_outputs[tap.student_module])
        ]
        of_task = 0.0 if loss is None else _gradient_norm(loss, maps)
        for name in (loss_cfg["name"] for loss_cfg in component["losses"]):
            term = torch.stack(sums[name]).sum()
            value = sum(float(part.detach()) for part in sums[name])
            own = _gradient_norm(term, maps)
            ratios.append(
                Ratio(
                    name,
                    value,
                    value / task if task else float("nan"),
                    own / of_task if of_task else None,
                    weight_of(distiller.losses[name]),
                )
            )
    losses = {**_losses(log), **{ratio.name: ratio.loss for ratio in ratios}}
    shapes = _shapes(distiller)
    places = _places(distiller, data)
    for recorded in (*distiller.student_outputs.values(), *distiller.teacher_outputs.values()):
        recorded.clear()  # they hold the step's whole graph
    return Step(task, losses, ratios, shapes, places)


def _places(distiller: Any, data: Dict[str, Any]) -> Dict[str, Places]:
    """Of the losses that weight places, from what the taps recorded."""
    found: Dict[str, Places] = {}
    if not hasattr(distiller, "outputs_of"):  # MMRazor's own
        return found
    for tap in taps_of(distiller.components):
        for name in (one["name"] for one in distiller.components[tap.component]["losses"]):
            loss = distiller.losses[name]
            if not hasattr(loss, "place_weights"):
                continue
            step = LossStep(data, *distiller._models, distiller._task)
            weights: List[Any] = []
            sizes: List[Sequence[int]] = []
            for sides in zip(*distiller.outputs_of(tap)):  # each call: a head's, for each level
                maps = [as_levels(*side, key=tap.where) for side in sides]
                with torch.no_grad():
                    pairs = list(loss.aligned(*loss.check_feats(*maps)))
                    weights += loss.place_weights(*zip(*pairs), step)
                sizes += [tuple(feat.shape[-2:]) for _, feat in pairs]
            if weights and all(level is not None for level in weights):
                found[name] = Places(weights, sizes, loss.transform, loss.granularity, True)
    return found


def prompt_step(algorithm: Any, data: Dict[str, Any]) -> Step:
    """A step of stage 1; the gradients are those that reach prompts and gate."""
    losses = algorithm(**data)
    own = {name: value for name, value in losses.items() if name.startswith("teacher.")}
    loss, log = algorithm._parse_losses(own)
    task = sum(_losses(log).values())
    learn = [p for p in algorithm.architecture.prompts.parameters() if p.requires_grad]
    of_task = _gradient_norm(loss, learn)
    ratios = []
    for name, key in PROMPT_WEIGHTS.items():
        term = losses.get(f"loss_{name}")
        if term is None:
            continue
        value, of_term = float(term.detach()), _gradient_norm(term, learn)
        ratios.append(
            Ratio(
                name,
                value,
                value / task if task else float("nan"),
                of_term / of_task if of_task else None,
                float(getattr(algorithm, key)),
            )
        )
    places = {"the prompts at the start": _of_masks(algorithm.architecture, learned=False)}
    named = {name.replace("teacher.", "", 1): v for name, v in _losses(log).items()}
    named.update((f"loss_{ratio.name}", ratio.loss) for ratio in ratios)
    return Step(task, named, ratios, [], places)


def _of_masks(teacher: Any, learned: bool) -> Places:
    """The sums over T of the last step's masks, which are let go of: they hold its graph."""
    sums = [[mask.detach().sum(dim=1) for mask in level] for level in teacher.masks]
    teacher.masks = []
    spec = teacher.prompts.spec
    return Places(sums, teacher.sizes, spec.transform, spec.granularity, learned)


def places_of_prompts(algorithm: Any, data: Dict[str, Any], prompts: FrequencyPrompts) -> Places:
    """What other prompts than its own, of the same spec, do with the batch."""
    teacher = algorithm.architecture
    own, mode = teacher.prompts, teacher.training
    teacher.prompts = prompts.to(data["img"].device).eval()
    try:
        with torch.no_grad():
            teacher.forward_prompted(**data)
        return _of_masks(teacher, learned=True)
    finally:
        teacher.prompts = own
        teacher.train(mode)


def average(steps: Sequence[Step]) -> Step:
    """The mean over batches, ratio by ratio, as the log takes it; the first batch's shapes."""

    def mean(values: Sequence[Any]) -> Any:
        return None if None in values else sum(values) / len(values)

    ratios = [
        Ratio(one[0].name, *(mean([r[i] for r in one]) for i in (1, 2, 3)), weight=one[0].weight)
        for one in zip(*(step.ratios for step in steps))
    ]
    losses = {name: mean([step.losses[name] for step in steps]) for name in steps[0].losses}
    return Step(mean([step.task for step in steps]), losses, ratios, steps[0].shapes)


def _losses(log: Dict[str, float]) -> Dict[str, float]:
    """The parts of the sum ``loss``; a classifier's only loss has that very name."""
    found = {name: value for name, value in log.items() if "loss" in name and name != "loss"}
    return found or {name: value for name, value in log.items() if name == "loss"}


def _tensors(value: Any) -> List[Tensor]:
    if torch.is_tensor(value):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _gradient_norm(loss: Tensor, at: Sequence[Tensor]) -> float:
    """Norm of the gradient of ``loss`` at all of ``at`` together; the graph stays."""
    at = [tensor for tensor in at if tensor.requires_grad]
    if not at or not loss.requires_grad:
        return 0.0
    # float16 would lose small gradients; a power of two loses nothing
    scale = 1024.0 if any(tensor.dtype == torch.float16 for tensor in at) else 1.0
    found = torch.autograd.grad(loss * scale, at, retain_graph=True, allow_unused=True)
    norms = [grad.float().norm() for grad in found if grad is not None]
    return float(torch.stack(norms).norm()) / scale if norms else 0.0


def _shapes(distiller: Any) -> List[Any]:
    """(student module, teacher module, [(shape, shape)]) of what the taps recorded.

    Of a tap in the student alone: the module, None, [(shape,)].
    """
    found = []
    taps = taps_of(distiller.components)
    for tap in {repr(_place(tap)): tap for tap in taps}.values():
        names = _place(tap)[:2]
        if hasattr(distiller, "outputs_of"):
            both = distiller.outputs_of(tap)
        else:  # MMRazor's own
            both = (distiller.student_outputs[names[0]], distiller.teacher_outputs[names[1]])
        sides = [_tensors(side) for side in both[: 1 if names[1] is None else 2]]
        found.append((*names, [tuple(tuple(x.shape) for x in maps) for maps in zip(*sides)]))
    return found


def _place(tap: Any) -> Tuple[Any, ...]:
    """What is compared: a tapped module on each side, and which of its maps."""
    return tap.student_module, tap.teacher_module, tap.get("levels")


# --------------------------------------------------------------------------- time and memory
class Cost(NamedTuple):
    """Seconds and bytes of a step (forward and backward) after a warm-up."""

    seconds: float
    peak: Optional[int]
    peak_of: str


def cost(wrapped: Any, batches: Sequence[Any], device: str, seed: int, steps: int = 3) -> Cost:
    """Time forward and backward of the run's own ``train_step``; no weight is touched."""
    cuda = device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    times: List[float] = []
    while len(times) < steps and sum(times) < _ENOUGH_SECONDS:
        seed_iteration(seed, len(times))
        start = _now(cuda)
        wrapped.train_step(batches[len(times) % len(batches)], None)["loss"].backward()
        times.append(_now(cuda) - start)
        wrapped.zero_grad(set_to_none=True)
    seconds = sorted(times)[len(times) // 2]
    if cuda:
        return Cost(seconds, int(torch.cuda.max_memory_allocated()), "of the GPU, by tensors")
    return Cost(seconds, _peak_rss(), "resident memory of the whole process")


def _now(cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def _peak_rss() -> Optional[int]:
    try:
        import resource
        import sys
    except ImportError:  # not on this system
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
