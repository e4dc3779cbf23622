"""What a config says against what its teacher and its data say: pixels, classes, weights, the
teacher's own loss.
"""

import ast
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import torch

from freekd.distill.annotations import left_out, missing
from freekd.distill.weights import set_frozen_mode
from freekd.doctor.measure import seed_iteration
from freekd.zoo.stock import find_config

# Two Normalize steps are the same if no pixel comes out further apart than this part of the range:
# ImageNet's mean as 103.53 or 102.98 is .002, caffe's pixels against ImageNet's .97.
_SAME = 0.01


# --------------------------------------------------------------------------- pixels
class Pixels(NamedTuple):
    """A ``Normalize`` step of a pipeline; without one, pixels stay as they are."""

    mean: Tuple[float, ...] = (0.0, 0.0, 0.0)
    std: Tuple[float, ...] = (1.0, 1.0, 1.0)
    to_rgb: bool = False

    def __str__(self) -> str:
        mean, std = (", ".join(f"{v:g}" for v in values) for values in (self.mean, self.std))
        return f"mean [{mean}], std [{std}], to_rgb={self.to_rgb}"

    def differs(self, other: "Pixels") -> float:
        """How far the same pixel can come out apart, as a part of the range of pixels.

        >>> a = Pixels((100.0,) * 3, (50.0,) * 3)  # gives -2 to 3.1
        >>> a.differs(Pixels((100.0,) * 3, (50.0,) * 3)), round(a.differs(Pixels()), 2)
        (0.0, 49.39)
        """
        if self.to_rgb != other.to_rgb:
            return float("inf")
        apart = []
        for mean, std, its_mean, its_std in zip(self.mean, self.std, other.mean, other.std):
            for pixel in (0.0, 255.0):
                apart.append(abs((pixel - mean) / std - (pixel - its_mean) / its_std) * std / 255.0)
        return max(apart)


def pixels_of(node: Any) -> List[Pixels]:
    """Every ``Normalize`` in a dataset config, once each; of one without any, raw pixels."""
    found = list(dict.fromkeys(_pixels(step) for step in _steps(node)))
    return found or [Pixels()]


def _steps(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        if node.get("type") == "Normalize":
            yield node
        for value in node.values():
            yield from _steps(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _steps(item)


def _pixels(step: Mapping[str, Any]) -> Pixels:
    mean, std = (tuple(float(v) for v in step[key]) for key in ("mean", "std"))
    return Pixels(mean, std, bool(step.get("to_rgb", True)))


def same_pixels(ours: Sequence[Pixels], theirs: Sequence[Pixels]) -> bool:
    """Whether every one of ``ours`` is close to one of ``theirs``."""
    return all(min(one.differs(other) for other in theirs) <= _SAME for one in ours)


def pixels_of_model(reference: Any, key: str) -> Optional[List[Pixels]]:
    """What the config that ``reference`` names feeds its model; None if it has no data."""
    from freekd.zoo.config_file import read_config

    if isinstance(reference, str):
        cfg = read_config(find_config(reference, key))
        train = (cfg.get("data") or {}).get("train")
        return pixels_of(train) if train else pixels_of_model(cfg.get("model"), key)
    if isinstance(reference, Mapping) and "config" in reference:
        return pixels_of_model(reference["config"], key)
    return None


def pixels_of_checkpoint(meta: Any) -> Optional[List[Pixels]]:
    """What a checkpoint's own config (text, which is read but never run) fed the model."""
    text = meta.get("config") if isinstance(meta, Mapping) else None
    if not isinstance(text, str):
        return None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    names = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        step = _read_dict(node, names)
        if step.get("type") == "Normalize" and {"mean", "std"} <= set(step):
            found.append(_pixels(step))
    return list(dict.fromkeys(found)) or None


def _read_dict(node: ast.AST, names: Mapping[str, ast.AST]) -> Dict[str, Any]:
    """The literal items of ``dict(a=1, **name)`` or ``{"a": 1, **name}`` in a config's text."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "dict":
        items: List[Tuple[Any, ast.AST]] = [(word.arg, word.value) for word in node.keywords]
    elif isinstance(node, ast.Dict):
        items = [(getattr(key, "value", None), value) for key, value in zip(node.keys, node.values)]
    else:
        return {}
    out: Dict[str, Any] = {}
    for key, value in items:
        if key is None and isinstance(value, ast.Name) and value.id in names:
            out.update(_read_dict(names[value.id], {}))
            continue
        try:
            out[key] = ast.literal_eval(value)  # type: ignore[arg-type]
        except (ValueError, TypeError, SyntaxError):
            continue
    return out


# --------------------------------------------------------------------------- weights
def filled(model: torch.nn.Module, state: Mapping[str, Any], prefix: str = "") -> List[str]:
    """Names of ``model``'s tensors that equal those in ``state``, where these have ``prefix``."""
    own = {name: value for name, value in model.state_dict().items() if _counts(name)}
    return [
        name
        for name, value in own.items()
        if torch.is_tensor(state.get(prefix + name))
        and state[prefix + name].shape == value.shape
        and torch.equal(state[prefix + name].to(value), value)
    ]


def share(model: torch.nn.Module, names: Sequence[str], part: str = "") -> float:
    """The share of the values of ``model`` (or of its ``part``) that are in tensors ``names``."""
    sizes = {
        name: value.numel()
        for name, value in model.state_dict().items()
        if _counts(name) and (not part or name.startswith(f"{part}."))
    }
    total = sum(sizes.values())
    return sum(sizes.get(name, 0) for name in set(names)) / total if total else 0.0


def _counts(name: str) -> bool:
    return not name.endswith("num_batches_tracked")


def pretrained_parts(model: torch.nn.Module) -> Iterator[Tuple[str, str, List[str]]]:
    """(path, checkpoint, names of the model's tensors that it filled) where a config asks for one.

    The files were fetched and cached when the model was initialised.
    """
    from mmcv.runner.checkpoint import _load_checkpoint, _load_checkpoint_with_prefix

    for path, module in model.named_modules():
        init_cfg = getattr(module, "init_cfg", None)
        if not isinstance(init_cfg, Mapping) or init_cfg.get("type") != "Pretrained":
            continue
        source = init_cfg["checkpoint"]
        if init_cfg.get("prefix"):
            state = _load_checkpoint_with_prefix(init_cfg["prefix"], source, map_location="cpu")
        else:
            content = _load_checkpoint(source, map_location="cpu")
            state = content.get("state_dict", content)
        state = {str(n)[7:] if str(n).startswith("module.") else n: v for n, v in state.items()}
        names = filled(module, state)
        yield path, source, [f"{path}.{name}" if path else name for name in names]


# --------------------------------------------------------------------------- the teacher's own loss
def heads_without_annotations(model: Any, data: Mapping[str, Any]) -> List[str]:
    """Heads whose loss is left out here, as the data lacks what it needs."""
    return [need.head for need in missing(model, data) if need.optional]


@torch.no_grad()
def own_loss(model: Any, data: Dict[str, Any], seed: int) -> float:
    """The task loss of a frozen model on a batch, heads as in training."""
    set_frozen_mode(model, True)
    seed_iteration(seed, 0)  # the same proposals are sampled for all
    with left_out(model, heads_without_annotations(model, data)):
        losses = model(return_loss=True, **data)
    return float(model._parse_losses(losses)[1]["loss"])


def random_losses(teacher: Any, build: Any, data: Dict[str, Any], seed: int) -> Tuple[float, float]:
    """The loss of a teacher with random weights, and of one with this one's backbone.

    An untrained teacher is like the first, or, if its backbone was pretrained, like the second.
    ``build`` takes nothing and gives the copy.
    """
    copy = build()
    whole = own_loss(copy, data, seed)
    if hasattr(teacher, "backbone") and hasattr(copy, "backbone"):
        copy.backbone.load_state_dict(teacher.backbone.state_dict())
        return whole, own_loss(copy, data, seed)
    return whole, whole
