"""The losses of a short config: their options against what the loss's class takes."""

import difflib
import inspect
from typing import Any, Dict, Mapping, Sequence

from freekd.config import fields
from freekd.config.errors import ConfigError


def check_names(given: Mapping[Any, Any], known: Sequence[str], key: str, whose: str = "") -> None:
    """Raise ConfigError, with the nearest names, unless every key is known."""
    unknown = [name for name in given if name not in known]
    if unknown:
        near = {n: difflib.get_close_matches(str(n), known, n=1) for n in unknown}
        hint = ", ".join(f"{name} -> {hit[0]}" for name, hit in near.items() if hit)
        raise ConfigError(
            f"{key}: {whose}unknown keys {unknown}; known are {list(known)}."
            + (f" Did you mean {hint}?" if hint else "")
        )


def loss_config(
    kind: str, name: str, options: Mapping[str, Any], told: Mapping[str, Any], key: str
) -> Dict[str, Any]:
    """A loss with options of the config; ``type`` among them replaces it.

    Args:
        kind, name: its type and name, unless ``options`` have others.
        options: its arguments, as the config has them.
        told: what follows from the models, as far as the loss takes arguments of these names.
        key: the config key of ``options``.

    Raises:
        ConfigError: no such class, an argument that it does not take or that is missing, or a value
            of another kind than the argument's default.
    """
    fields.text(options.get("type", kind), f"{key}.type")
    fields.loss_name(options.get("name", name), f"{key}.name")
    parameters = _parameters(options.get("type", kind), key)
    given = {k: v for k, v in options.items() if k not in ("type", "name")}
    told = {k: v for k, v in told.items() if k in parameters}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        known = [*parameters, "name", "type"]
        check_names(given, known, key, f"{options.get('type', kind)} has ")
    empty = inspect.Parameter.empty
    for option, value in given.items():
        if option in parameters:
            fields.argument(parameters[option])(value, f"{key}.{option}")
    named = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    lacking = [
        name
        for name, parameter in parameters.items()
        if parameter.default is empty
        and parameter.kind not in named
        and name not in told
        and name not in given
    ]
    if lacking:
        raise ConfigError(f"{key}: the options {lacking} are missing. Add them.")
    return {"type": kind, "name": name, **told, **options}


def takes_maps(kind: str, options: Mapping[str, Any], key: str) -> bool:
    """Whether a loss wants to know channels and number of the maps, as freekd's own do."""
    fields.text(options.get("type", kind), f"{key}.type")
    return "num_levels" in _parameters(options.get("type", kind), key)


def _parameters(kind: str, key: str) -> Mapping[str, inspect.Parameter]:
    """The arguments of a registered class."""
    from mmrazor.models.builder import LOSSES

    import freekd.distill  # noqa: F401  (registers the losses)
    from freekd.config.explain import building, nearest_types

    with building(f"{key}.type={kind!r}"):
        found = LOSSES.get(kind)
    if found is None:
        near = ", ".join(nearest_types(LOSSES, kind)) or "none"
        raise ConfigError(
            f"{key}.type={kind!r}: no such class is registered; nearest: {near}. Correct it, or "
            "name the module of a class of your own in custom_imports."
        )
    return inspect.signature(found).parameters
