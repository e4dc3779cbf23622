"""The hooks that a stock config wants for its model, and hooks in general, before training.

A config that names a model (``mmdet::tood/...``) takes its ``custom_hooks`` along: without them a
TOOD student stays in its warm-up assigner, a YOLOX never switches its mode. ``stock_hooks`` says
otherwise: ``None`` takes none, ``dict(YOLOXModeSwitchHook=None)`` all but one,
``dict(YOLOXModeSwitchHook=dict(num_last_epochs=5))`` changes one.
"""

import difflib
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from mmcv import ConfigDict

from freekd.config.errors import ConfigError

KEY = "stock_hooks"


def take_along(cfg: Any) -> None:
    """Add to ``cfg.custom_hooks`` those of the stock config that names the model which learns.

    A hook of a type that ``custom_hooks`` already has is not taken. Stage 1 takes none: its teacher
    is trained already.

    Raises:
        ConfigError: ``stock_hooks`` names a hook that the stock config does not have, or is of
            another type.
    """
    own = cfg.get("custom_hooks")
    if own is not None and not isinstance(own, (list, tuple)):
        raise ConfigError(f"custom_hooks: expected a list of dicts, got {own!r}. Put it into [ ].")
    reference, _ = learner(cfg)
    found = hooks_of(reference)
    wanted = cfg.get(KEY, {})
    if wanted is None:
        found = []
    elif not isinstance(wanted, Mapping):
        raise ConfigError(
            f"{KEY}: expected None (take none), or a dict from a hook's type to None or to "
            f"changes, got {wanted!r}."
        )
    types = [str(hook.get("type")) for hook in found]
    for name, change in (wanted or {}).items():
        if change is not None and not isinstance(change, Mapping):
            raise ConfigError(f"{KEY}.{name}: expected None or a dict of changes, got {change!r}.")
        if name not in types and not _named(own, name):
            raise ConfigError(
                f"{KEY}.{name}: the config of the model that learns has no such hook; it has "
                f"{types or 'none'}. Correct the name, or remove the key."
            )
        if name not in types:  # a stock config that is itself trained: its hooks are here already
            own = [_changed(hook, name, change) for hook in own]
            cfg.custom_hooks = own = [hook for hook in own if hook is not None]
    have = {str(hook.get("type")) for hook in own or () if isinstance(hook, Mapping)}
    taken = []
    for name, hook in zip(types, found):
        change = (wanted or {}).get(name, {})
        if name not in have and change is not None:
            taken.append(ConfigDict({**hook, **change}))
    if taken:
        cfg.custom_hooks = [*taken, *(own or ())]


def _changed(hook: Any, name: str, change: Any) -> Any:
    """``hook``, as ``stock_hooks`` wants it if it is of the type ``name``; None: left out."""
    if not isinstance(hook, Mapping) or hook.get("type") != name:
        return hook
    return None if change is None else ConfigDict({**hook, **change})


def _named(hooks: Any, name: str) -> bool:
    return any(isinstance(hook, Mapping) and hook.get("type") == name for hook in hooks or ())


def learner(cfg: Any) -> Tuple[Any, str]:
    """The reference of the model that learns with hooks, and its key; None for stage 1."""
    if cfg.get("algorithm") is None:
        return cfg.get("model"), "model"
    if not isinstance(cfg.algorithm, Mapping) or not cfg.algorithm.get("distiller"):
        return None, ""
    key = "pair.student" if cfg.get("spelled_out") == "pair" else "algorithm.architecture.model"
    return (cfg.algorithm.get("architecture") or {}).get("model"), key


def hooks_of(reference: Any) -> List[Dict[str, Any]]:
    """The ``custom_hooks`` of the configs that a model reference leads to, outermost first."""
    from freekd.config.explain import building
    from freekd.zoo.config_file import read_config
    from freekd.zoo.stock import find_config

    found: List[Dict[str, Any]] = []
    while True:
        if isinstance(reference, Mapping) and "config" in reference:
            reference = reference["config"]
        if not isinstance(reference, str):
            return found
        with building("model"):
            cfg = read_config(find_config(reference, "model"))
        have = [hook["type"] for hook in found]
        for hook in cfg.get("custom_hooks") or ():
            if isinstance(hook, Mapping) and hook.get("type") not in have:
                found.append(dict(hook))
        reference = cfg.get("model")


# --------------------------------------------------------------------------- before training
class _Wants(NamedTuple):
    """What a hook of mmdet's finds only in the middle of a run."""

    dataset: Optional[str] = None  # a method of the training set
    model: Optional[str] = None  # a path of the model that learns
    epochs: bool = False  # it acts at the start of epochs only
    how: str = ""  # what to do about the data set


_WANTS = {
    "SetEpochInfoHook": _Wants(model="set_epoch", epochs=True),
    "YOLOXModeSwitchHook": _Wants(
        dataset="update_skip_type_keys",
        model="bbox_head.use_l1",
        epochs=True,
        how="data.train of type MultiImageMixDataset, whose augmentations it switches off",
    ),
    "SyncRandomSizeHook": _Wants(
        dataset="update_dynamic_scale",
        how="a data set of mmdet 2.14 or older; use Resize with multiscale_mode='range' instead",
    ),
}
_REFUSED = {
    "PreciseBNHook": "it loads batches of a fixed size by itself, beside those of the run, which "
    "could not be resumed exactly",
    "RFSearchHook": "it rebuilds the layers of a model before training, which a run here does not "
    "do: train such a model with mmdet itself",
}


def check_hooks(cfg: Any, model: Any, dataset: Any, by_epoch: bool, logger: Any = None) -> None:
    """Every custom hook must be one that can be built, and find what it will reach for.

    Args:
        cfg: The config.
        model: The bare model or algorithm.
        dataset: The training set.
        by_epoch: Whether the run counts epochs.
        logger: For a note of what will never happen.

    Raises:
        ConfigError: Names the hook, what it needs, and how to leave it out.
    """
    from mmcv.runner import HOOKS, get_priority

    averages = []
    for hook in cfg.get("custom_hooks") or ():
        if not isinstance(hook, Mapping) or not isinstance(hook.get("type"), str):
            raise ConfigError(f"custom_hooks: expected dicts with a hook's 'type', got {hook!r}.")
        name = hook["type"]
        key = f"custom_hooks, {name}"
        kind = HOOKS.module_dict.get(name)  # hooks are named without a package
        if kind is None:
            near = difflib.get_close_matches(name, list(HOOKS.module_dict), n=3)
            raise ConfigError(
                f"{key}: no hook of this type is registered; nearest: {near or 'none'}. Correct "
                "the name, or add the module of your own hook to custom_imports."
            )
        try:
            get_priority(hook.get("priority", "NORMAL"))
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"{key}.priority: expected a number from 0 to 100 or a name such as "
                f"'NORMAL', got {hook['priority']!r}."
            ) from error
        if hook.get("resume_from"):
            raise ConfigError(
                f"{key}.resume_from: expected None, got {hook['resume_from']!r}: a run "
                "is resumed as a whole, with what hooks keep, by --resume-from or --auto-resume."
            )
        kinds = [base.__name__ for base in kind.__mro__]
        wants = next((_WANTS[base] for base in kinds if base in _WANTS), _Wants())
        reason = next((_REFUSED[base] for base in kinds if base in _REFUSED), "")
        reason = reason or _lacks(wants, model, dataset, by_epoch)
        if reason:
            raise ConfigError(f"{key}: it cannot run here: {reason}. {_how_to_leave(name)}")
        if {base.__name__ for base in kind.__mro__} & {"EMAHook", "BaseEMAHook"}:
            averages.append(name)
        if logger is not None:
            _note_what_never_happens(hook, cfg, by_epoch, logger)
    _check_averages(averages, model)


def _check_averages(names: List[str], model: Any) -> None:
    if len(names) > 1:
        raise ConfigError(
            f"custom_hooks: expected one hook that averages weights, got {', '.join(names)}: they "
            f"would write to the same buffers. {_how_to_leave(names[0])}"
        )
    if names and hasattr(model, "save_prompts"):
        raise ConfigError(
            f"custom_hooks, {names[0]}: in stage 1 the prompt file has the prompts as they are, "
            "and averages of the frozen teacher are a second copy of it. Remove the hook."
        )


def _lacks(wants: _Wants, model: Any, dataset: Any, by_epoch: bool) -> str:
    if wants.epochs and not by_epoch:
        return (
            "it acts at the start of each epoch, and this runner counts iterations. Use "
            "runner=dict(type='EpochBasedRunner', max_epochs=...)"
        )
    if wants.dataset and not hasattr(dataset, wants.dataset):
        return f"it needs {wants.how}; data.train is a {type(dataset).__name__}"
    node = model
    for part in (wants.model or "").split(".") if wants.model else ():
        if not hasattr(node, part):
            learns = getattr(getattr(model, "architecture", model), "model", model)
            return f"it needs {wants.model} of the model, which a {type(learns).__name__} lacks"
        node = getattr(node, part)
    return ""


def _how_to_leave(name: str) -> str:
    return f"Leave it out: {KEY}=dict({name}=None), or remove it from custom_hooks."


def _note_what_never_happens(hook: Any, cfg: Any, by_epoch: bool, logger: Any) -> None:
    last = hook.get("num_last_epochs", 15)
    if hook["type"] == "YOLOXModeSwitchHook" and by_epoch and cfg.runner.max_epochs <= last:
        logger.warning(
            "YOLOXModeSwitchHook: the run has %d epochs and the mode is switched for the last %d: "
            "it never is. Set %s.YOLOXModeSwitchHook.num_last_epochs lower",
            cfg.runner.max_epochs, last, KEY,
        )  # fmt: skip
