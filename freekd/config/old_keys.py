"""What version 0.1 said in ``pair``, and how to say it now."""

from typing import Any, Dict, Mapping, Sequence

from freekd.config import fields
from freekd.config.errors import ConfigError
from freekd.frequency.transform import OLD_KEYS, from_old

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
            entries[new] = _renewed(options) if isinstance(options, Mapping) else options
    if "prompts" in given:
        entries.setdefault("freekd", {})
        if isinstance(entries["freekd"], dict):
            entries["freekd"] = dict(prompts=given["prompts"], **entries["freekd"])
    for i, term in enumerate(_listed(given.get("regression"))):
        if isinstance(term, Mapping):
            entries["regression" + (f"_{i}" if i else "")] = _regression(term, i)
    for i, component in enumerate(_listed(given.get("components"))):
        if isinstance(component, Mapping):
            entries.update(_components(component, i))
    written = ", ".join(f"{name}={_written(options)}" for name, options in entries.items())
    raise ConfigError(
        f"pair: the keys {old} are those of version 0.1. Write instead: "
        f"pair = dict(..., losses=dict({written}))"
    )


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
            own = {k: v for k, v in loss.items() if k not in ("name", "type")}
            found[name] = dict(type=loss.get("type"), **shared, **own)
    return found


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _written(value: Any) -> str:
    """As a config would have it."""
    if isinstance(value, Mapping) and all(isinstance(k, str) and k.isidentifier() for k in value):
        return f"dict({', '.join(f'{k}={_written(v)}' for k, v in value.items())})"
    return fields.shown(value)
