"""What version 0.1 said in ``pair``, and how to say it now."""

import re
from typing import Any, Dict, Mapping, Sequence

from freekd.config import fields
from freekd.config.errors import ConfigError
from freekd.frequency.transform import OLD_KEYS, from_old
from freekd.losses import cards

_OLD = ("freekd", "mse", "prompts", "regression", "components")


def refuse_old_keys(given: Mapping[str, Any]) -> None:
    """The keys of version 0.1 are refused, with the new spelling of what they say.

    Raises:
        ConfigError: with the entries of ``losses`` to write instead.
    """
    old = [key for key in _OLD if key in given]
    if not old:
        return
    entries: Dict[str, Any] = {}
    for label, new in (("freekd", "freekd"), ("mse", "mimic")):
        if label in given:
            options = given[label]
            if isinstance(options, Mapping) and "type" in options:
                entries.update(_other_class(label, options, given.get("module", "neck")))
            else:
                entries[new] = _renewed(options) if isinstance(options, Mapping) else options
    if "prompts" in given and not _names_a_class(given.get("freekd")):
        entries.setdefault("freekd", {})
        if isinstance(entries["freekd"], dict):
            entries["freekd"] = dict(prompts=given["prompts"], **entries["freekd"])
    if _names_a_class(given.get("freekd")) and "freekd" in (given.get("losses") or {}):
        entries["freekd"] = None  # of a base config: another class took its place
    for i, term in enumerate(_listed(given.get("regression"))):
        if isinstance(term, Mapping):
            entries["regression" + (f"_{i}" if i else "")] = _regression(term, i)
    for i, component in enumerate(_listed(given.get("components"))):
        if isinstance(component, Mapping):
            entries.update(_components(component, i))
    written = ", ".join(f"{name}={_written(options)}" for name, options in entries.items())
    raise ConfigError(
        f"pair: the keys {old} are those of version 0.1. "
        + (
            f"Write instead: pair = dict(..., losses=dict({written}))"
            if entries
            else "Remove them."
        )
    )


def _names_a_class(options: Any) -> bool:
    return isinstance(options, Mapping) and "type" in options


def _other_class(label: str, options: Mapping[str, Any], module: Any) -> Dict[str, Any]:
    """A term of 0.1 whose ``type`` was another class than the term's own."""
    own = {name: value for name, value in _renewed(options).items() if name != "type"}
    for name, card in cards().items():
        if options["type"] in card.types and card.maps:
            return {name: own}
    return {f"{label}_term": dict(type=options["type"], module=module, **own)}


def _renewed(options: Mapping[str, Any]) -> Dict[str, Any]:
    """The loss's own options, with the transform as one of them."""
    found = {name: value for name, value in options.items() if name not in OLD_KEYS}
    if len(found) < len(options):
        found["transform"] = from_old(options)
    return found


def _regression(term: Mapping[str, Any], index: int) -> Dict[str, Any]:
    options = {k: v for k, v in term.items() if k not in ("student", "teacher")}
    if "student" in term:
        options["module"] = dict(student=term["student"], teacher=term.get("teacher"))
    return dict(type="regression", **options) if index else options


def _components(component: Mapping[str, Any], index: int) -> Dict[str, Any]:
    student, teacher = (component.get(f"{who}_module") for who in ("student", "teacher"))
    shared = {k: component[k] for k in ("align_module", "resize") if k in component}
    shared["module"] = student if student == teacher else dict(student=student, teacher=teacher)
    found = {}
    for loss in _listed(component.get("losses")):
        if isinstance(loss, Mapping):
            name = str(loss.get("name", f"component_{index}")).replace("loss_", "")
            name = re.sub(r"\W", "_", name)
            own = {k: v for k, v in _renewed(loss).items() if k not in ("name", "type")}
            found[name] = dict(type=loss.get("type"), **shared, **own)
    return found


def _listed(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):  # without its list
        return [value] if value else ()
    return value if isinstance(value, (list, tuple)) else ()


def _written(value: Any) -> str:
    """As a config would have it."""
    if isinstance(value, Mapping) and all(isinstance(k, str) and k.isidentifier() for k in value):
        return f"dict({', '.join(f'{k}={_written(v)}' for k, v in value.items())})"
    return fields.shown(value)
