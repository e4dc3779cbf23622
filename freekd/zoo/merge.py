"""Changes over a config, as mmcv merges a child config, and into the entries of its lists.

Where the config has a list, a change is ``{0: dict(...)}`` or ``{"0": dict(...)}``, or a list of
as many dicts without ``type``, which are merged entry by entry.
"""

from typing import Any, Dict, List, Mapping, Sequence, Union

from mmcv import ConfigDict

DELETE = "_delete_"


class MergeError(ValueError):
    """A change that does not fit the config; says what the config has there and what to write."""


def merged(
    base: Mapping[Any, Any], changes: Mapping[Any, Any], where: str, what: str
) -> ConfigDict:
    """``base`` with ``changes`` over it; both stay as they are.

    Args:
        base, changes: configs; ``_delete_=True`` in a part of ``changes`` replaces that part.
        where: the config key of ``base``, for errors; may be empty.
        what: the name of the config that ``base`` comes from, for errors.

    Raises:
        MergeError: an index out of range, a list of another length, or a value of another kind.

    >>> heads = dict(heads=[dict(type="A", n=1), dict(type="A", n=2)])
    >>> merged(heads, dict(heads={1: dict(n=5)}), "model", "a.py")
    {'heads': [{'type': 'A', 'n': 1}, {'type': 'A', 'n': 5}]}
    """
    out: Dict[Any, Any] = dict(base)
    for name, value in changes.items():
        name = _as_in(base, name)
        if name in base:
            place = f"{where}.{name}" if where else str(name)
            out[name] = _over(base[name], value, place, what)
        else:
            out[name] = value
    return ConfigDict(out)


def merge_options(cfg: Any, options: Mapping[str, Any]) -> None:
    """Merge dotted keys into a config in place, as ``Config.merge_from_dict`` does.

    Raises:
        MergeError: see :func:`merged`; or one option lies inside another, which is no dict.
    """
    tree: Dict[str, Any] = {}
    for key, value in options.items():
        node = tree
        *holders, name = key.split(".")
        for holder in holders:
            node = node.setdefault(holder, {})
            if not isinstance(node, dict):
                raise MergeError(f"{key}: {holder!r} is given a value of its own, {node!r}, too.")
        node[name] = value
    base = {name: cfg[name] for name in tree if name in cfg}
    for name, value in merged(base, tree, "", "the config").items():
        cfg[name] = value


def without_delete(value: Any) -> Any:
    """A merged config without the ``_delete_`` that had nothing to replace."""
    if isinstance(value, Mapping):
        return ConfigDict({k: without_delete(v) for k, v in value.items() if k != DELETE})
    if isinstance(value, (list, tuple)):
        return type(value)([without_delete(item) for item in value])
    return value


def _as_in(base: Mapping[Any, Any], name: Any) -> Any:
    """The key of ``base`` that ``name`` means: ``0`` and ``"0"`` are one."""
    if name not in base:
        if isinstance(name, str) and name.isdigit() and int(name) in base:
            return int(name)
        if isinstance(name, int) and str(name) in base:
            return str(name)
    return name


def _over(old: Any, new: Any, place: str, what: str) -> Any:
    if isinstance(new, Mapping):
        if new.get(DELETE):
            return {name: value for name, value in new.items() if name != DELETE}
        if isinstance(old, Mapping):
            return merged(old, new, place, what)
        if isinstance(old, (list, tuple)):
            return _entries(old, new, place, what)
        if old is not None:
            raise MergeError(
                f"{place}: {what} has {_shown(old)} there, which a dict cannot change. Write a "
                f"value of that kind, or dict({DELETE}=True, ...) to replace it."
            )
    elif isinstance(old, (list, tuple)) and any(_typed(entry) for entry in old):
        return _list_over(old, new, place, what)
    elif _all_plain(old) and _all_plain(new) and len(old) == len(new):
        return _one_by_one(old, new, place, what)
    elif _typed(old) and isinstance(new, (str, int, float)):
        raise MergeError(
            f"{place}: {what} has {_shown(old)} there, expected a dict with what to change in it, "
            f"got {new!r}. Write dict(...), or None to leave the part out."
        )
    return new


def _entries(old: Sequence[Any], changes: Mapping[Any, Any], place: str, what: str) -> Any:
    """A list with the entries changed that the keys of ``changes`` count, from 0."""
    out: List[Any] = list(old)
    done = set()
    for name, value in changes.items():
        index = _index(name)
        if index is None or index >= len(old):
            given = "{" + f"0: {dict(changes)!r}" + "}" if index is None else "{0: ...}"
            every = f", or [{dict(changes)!r}] * {len(old)} for all" if index is None else ""
            raise MergeError(
                f"{place}: {what} has {_shown(old)} there, expected an index from 0 to "
                f"{len(old) - 1}, got {name!r}. To change one entry write {given}{every}."
            )
        if index in done:
            raise MergeError(f"{place}: the entry {index} is given twice, as 0 and '0' are one.")
        done.add(index)
        out[index] = _over(old[index], value, f"{place}.{index}", what)
    return type(old)(out)


def _list_over(old: Sequence[Any], new: Any, place: str, what: str) -> Any:
    """A value over a list of dicts with ``type``: a new list, or changes entry by entry."""
    if new is None:
        return None
    advice = (
        "Write {0: dict(...)} to change one entry, a list of as many dicts without type to change "
        "each, or a list of whole dicts, each with its type, to replace them."
    )
    if not isinstance(new, (list, tuple)):
        raise MergeError(f"{place}: {what} has {_shown(old)} there, got {new!r}. {advice}")
    if all(_typed(entry) for entry in new):
        return new
    plain = _all_plain(new)
    if not plain or len(new) != len(old):
        raise MergeError(
            f"{place}: {what} has {_shown(old)} there, got a list of {len(new)} entries, "
            f"{'none' if plain else 'not all'} of them with a type. {advice}"
        )
    return _one_by_one(old, new, place, what)


def _one_by_one(old: Sequence[Any], new: Sequence[Any], place: str, what: str) -> Any:
    changed = [_over(o, n, f"{place}.{i}", what) for i, (o, n) in enumerate(zip(old, new))]
    return type(old)(changed)


def _index(name: Any) -> Union[int, None]:
    if isinstance(name, int) and not isinstance(name, bool):
        return name if name >= 0 else None
    return int(name) if isinstance(name, str) and name.isdecimal() else None


def _typed(value: Any) -> bool:
    return isinstance(value, Mapping) and "type" in value


def _all_plain(value: Any) -> bool:
    """A list of dicts without ``type``."""
    return isinstance(value, (list, tuple)) and all(
        isinstance(entry, Mapping) and "type" not in entry for entry in value
    )


def _shown(value: Any) -> str:
    """What a config has somewhere, in a few words."""
    if _typed(value):
        return f"dict(type={value['type']!r}, ...)"
    if isinstance(value, Mapping):
        return "a dict"
    if isinstance(value, (list, tuple)):
        kinds = [_shown(entry) for entry in value[:3]]
        return f"a list of {len(value)} ({', '.join(kinds)}{', ...' if len(value) > 3 else ''})"
    return repr(value)
