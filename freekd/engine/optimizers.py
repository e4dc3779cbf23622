"""The optimizer of a run, by the constructors of mmcv, of the tasks' hosts and of users alike."""

import difflib
import importlib
from typing import Any, Dict, List, Optional

import torch

from freekd import tasks
from freekd.config.errors import ConfigError

_DEFAULT = "DefaultOptimizerConstructor"
_MMCV = tasks.Task.optimizer_builder


def build_optimizer(model: torch.nn.Module, cfg: Dict[str, Any], task: str) -> Any:
    """The config's optimizer over the parameters that require a gradient, and no others.

    mmcv's default constructor sees the whole algorithm. Any other (layer-wise decay of ConvNeXt,
    BEiT, MAE, a user's own) is written for a detector or segmentor, whose ``backbone`` and names of
    parameters it looks for: in a pair it gets the student, and what else learns there (alignments)
    follows in a group of its own, at the optimizer's base rate.

    Args:
        model: The bare model or algorithm.
        cfg: ``optimizer`` of the config.
        task: Its name: the host's constructors are looked for first, then mmcv's.

    Raises:
        ConfigError: No such constructor or optimizer, nothing to train, or options that it refuses.
    """
    from freekd.config.explain import building

    if not any(p.requires_grad for p in model.parameters()):
        raise ConfigError(
            "Expected parameters to train, but every parameter of the model is frozen. Check "
            "frozen_stages and requires_grad in the config."
        )
    name = cfg.get("constructor", _DEFAULT)
    place = _place_of(name, task)
    subject = model
    if name != _DEFAULT:
        if hasattr(model, "save_prompts"):
            raise ConfigError(
                f"optimizer.constructor={name!r}: in stage 1 only prompts and gate learn, which "
                "are no layers of a backbone. Remove the keys constructor and paramwise_cfg."
            )
        subject = getattr(getattr(model, "architecture", model), "model", model)
    with building("optimizer"):
        optimizer = importlib.import_module(place).build_optimizer(subject, cfg)
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    rest = {n: p for n, p in model.named_parameters() if p.requires_grad and id(p) not in known}
    if rest:
        group = dict(params=list(rest.values()))
        if "param_names" in optimizer.param_groups[0]:  # then torch wants them of all groups
            group["param_names"] = list(rest)
        optimizer.add_param_group(group)
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if p.requires_grad]
    optimizer.param_groups = [group for group in optimizer.param_groups if group["params"]]
    return optimizer


def scale_rate(cfg: Any, images: int, logger: Any) -> None:
    """mmdet's ``auto_scale_lr``: where enabled, the rate grows with the images of a step.

    Args:
        cfg: The config; its ``optimizer.lr`` is changed.
        images: Of all processes together, in a step.
        logger: For a note.

    Raises:
        ConfigError: A base batch size or a learning rate that is no positive number.
    """
    wanted = cfg.get("auto_scale_lr")
    if not isinstance(wanted, dict) or not wanted.get("enable"):
        return
    base, rate = wanted.get("base_batch_size"), cfg.optimizer.get("lr")
    for key, value in (("auto_scale_lr.base_batch_size", base), ("optimizer.lr", rate)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise ConfigError(
                f"{key}: expected a positive number, as auto_scale_lr.enable=True scales the rate, "
                f"got {value!r}. Give it, or set auto_scale_lr.enable=False."
            )
    cfg.optimizer.lr = rate * images / base
    logger.info(
        "auto_scale_lr: learning rate %g for %d images a step (%g for %d)",
        cfg.optimizer.lr, images, rate, base,
    )  # fmt: skip


def _place_of(name: Any, task: str) -> str:
    """The module whose ``build_optimizer`` knows the constructor ``name``."""
    known: List[str] = []
    found: Optional[str] = None
    own = tasks.get(task).optimizer_builder
    others = [host.optimizer_builder for host in tasks.every() if host.installed()]
    for place in dict.fromkeys([own, _MMCV, *others]):
        names = importlib.import_module(place).OPTIMIZER_BUILDERS.module_dict
        known += names
        if found is None and name in names:
            found = place
    if found is None:
        near = difflib.get_close_matches(str(name), known, n=3)
        packages = [host.package for host in tasks.every()]
        raise ConfigError(
            f"optimizer.constructor={name!r}: no such constructor in mmcv, {', '.join(packages)}; "
            f"nearest: {near or known}. Correct the name, or add the module of your own to "
            "custom_imports."
        )
    return found
