"""Checks of single values of a config: each says what was expected, what came, and the remedy.

A check takes the value and its key. Combine them, as in ``optional(integer(1))``.
"""

import ast
import inspect
import keyword
import math
import re
import warnings
from collections import abc
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Union, get_args, get_origin

from freekd.config.errors import ConfigError

Check = Callable[[Any, str], None]
Model = Union[str, Mapping[str, Any]]  # of a config: a reference, or a dict
_REMEDY = re.compile(r"\.\s[A-Z]")  # the last sentence of several says what to do
MOST_CHANNELS = 2**15
MOST_LEVELS = 64


def shown(value: Any) -> str:
    """A value in an error, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more than 4300 digits; a dict in itself
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 200 else f"{text[:200]}..."


def refuse(key: str, expected: str, value: Any, remedy: str = "Correct it") -> ConfigError:
    """The error for a value that is not what was expected."""
    return ConfigError(
        f"{key}: expected {expected}, got {shown(value)} ({type(value).__name__}). {remedy}."
    )


# --------------------------------------------------------------------------- kinds of values
def text(value: Any, key: str) -> None:
    """A string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise refuse(key, "a string that is not empty", value)


def flag(value: Any, key: str) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise refuse(key, "True or False", value)


def integer(least: int, most: Optional[int] = None) -> Check:
    """An integer in a range."""
    wanted = f"an integer of at least {least}" if most is None else f"an integer, {least} to {most}"

    def check(value: Any, key: str) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < least or (most is not None and value > most):
            raise refuse(key, wanted, value)

    return check


def number(least: Optional[float] = None, most: Optional[float] = None) -> Check:
    """A finite number in a range."""
    wanted = "a finite number"
    if least is not None:
        wanted += f" of at least {least}" if most is None else f", {least} to {most}"

    def check(value: Any, key: str) -> None:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = fits and abs(value) < 1e300 and math.isfinite(value)  # 10**400 is no float
        if not fits or (least is not None and value < least) or (most is not None and value > most):
            raise refuse(key, wanted, value)

    return check


def choice(choices: Sequence[str]) -> Check:
    """One of some words."""
    wanted = f"one of {', '.join(repr(word) for word in choices)}"

    def check(value: Any, key: str) -> None:
        if not isinstance(value, str) or value not in choices:
            raise refuse(key, wanted, value)

    return check


def mapping(value: Any, key: str) -> None:
    """A dict."""
    if not isinstance(value, Mapping):
        raise refuse(key, "a dict", value)


def dicts(value: Any, key: str) -> None:
    """A list of dicts; None stands for an empty one."""
    if isinstance(value, Mapping):
        raise refuse(key, "a list of dicts", value, "Put it into [ ]")
    if value is not None and not isinstance(value, (list, tuple)):
        raise refuse(key, "a list of dicts", value)
    for index, entry in enumerate(value or ()):
        mapping(entry, f"{key}[{index}]")


def folder_with(*options: str) -> Check:
    """A folder, or a dict with ``folder`` and any of ``options``; what these say is read later."""

    def check(value: Any, key: str) -> None:
        if isinstance(value, Mapping) and "folder" in value and {*value} <= {"folder", *options}:
            text(value["folder"], f"{key}.folder")
        elif not isinstance(value, str) or not value.strip():
            form = ", ".join(f"{option}=..." for option in options)
            raise refuse(key, f"a folder, or dict(folder=..., {form})", value)

    return check


def told_by(read: Callable[[Any, str], Any]) -> Check:
    """What a function of the core, ``read(value, key)``, says of a value."""

    def check(value: Any, key: str) -> None:
        try:
            read(value, key)
        except (ValueError, ImportError) as error:
            text = str(error).rstrip(".")
            if _REMEDY.search(text) is None:
                text += ". Correct it"
            raise ConfigError(text if text.endswith("?") else f"{text}.") from error

    return check


def optional(check: Check) -> Check:
    """None, or what ``check`` takes."""
    return lambda value, key: None if value is None else check(value, key)


# --------------------------------------------------------------------------- what pairs are made of
def model(value: Any, key: str) -> None:
    """What :func:`freekd.zoo.stock.read_model` takes, as far as its kind goes."""
    if isinstance(value, Mapping) and value:
        return
    if not isinstance(value, str) or not value.strip():
        stock = "'mmdet::...', 'mmseg::...', 'mmcls::...'"
        raise refuse(key, f"a config path, a stock one ({stock}), or a model dict", value)


def taps(value: Any, key: str) -> None:
    """A module path, one each for student and teacher, or named ones, alike or for each."""
    if isinstance(value, Mapping) and set(value) & {"student", "teacher"}:
        if set(value) != {"student", "teacher"}:
            raise refuse(key, "both 'student' and 'teacher', and nothing else", value)
        for who in ("student", "teacher"):
            _one_side(value[who], f"{key}.{who}")
        names = [set(side) if isinstance(side, Mapping) else None for side in value.values()]
        if names[0] != names[1]:
            raise refuse(key, "the same named taps for student and teacher", value)
    else:
        _one_side(value, key)


def _one_side(value: Any, key: str) -> None:
    if isinstance(value, Mapping) and value:
        for name, path in value.items():
            if not isinstance(name, str) or not name.isidentifier():
                raise refuse(key, "names of taps, such as dict(s3='backbone.layer3')", name)
            text(path, f"{key}.{name}")
    elif not isinstance(value, str) or not value.strip():
        expected = "a module path, a dict with 'student' and 'teacher', or a dict of named taps"
        raise refuse(key, expected, value)


def sides(module: Any) -> Tuple[Any, Any]:
    """What :func:`taps` takes as the student's and the teacher's path, or dict of paths."""
    if isinstance(module, Mapping) and set(module) == {"student", "teacher"}:
        return module["student"], module["teacher"]
    return module, module


def channels(value: Any, key: str) -> None:
    """A number of channels, or one for each level."""
    one = integer(1, MOST_CHANNELS)
    if isinstance(value, (list, tuple)) and 0 < len(value) <= MOST_LEVELS:
        for index, entry in enumerate(value):
            one(entry, f"{key}[{index}]")
    elif isinstance(value, int):
        one(value, key)
    else:
        raise refuse(key, "an integer, or a list of integers, one per level", value)


def levels_of_one(value: Any, key: str) -> None:
    """Numbers of a module's maps, from 0, rising."""
    one = integer(0, MOST_LEVELS - 1)
    expected = "a list of the maps' numbers, the finest first: it is 0, such as [1, 2, 3]"
    if not isinstance(value, (list, tuple)) or not value:
        raise refuse(key, expected, value)
    for index, entry in enumerate(value):
        one(entry, f"{key}[{index}]")
    if list(value) != sorted(set(value)):
        raise refuse(key, expected, value)


def levels(value: Any, key: str) -> None:
    """Which maps of the teacher's module are compared, or of student, teacher or both by name."""
    if not isinstance(value, Mapping):
        levels_of_one(value, key)
    elif not value or not set(value) <= {"student", "teacher"}:
        raise refuse(key, "a list, or a dict with 'student', 'teacher' or both", value)
    else:
        for who in value:
            levels_of_one(value[who], f"{key}.{who}")


def sides_of_levels(value: Any) -> Mapping[str, Any]:
    """What :func:`levels` takes as a dict; a list is the teacher's.

    >>> sides_of_levels([1, 2])
    {'teacher': [1, 2]}
    """
    if value is None:
        return {}
    return value if isinstance(value, Mapping) else dict(teacher=list(value))


def parts(value: Any, key: str) -> None:
    """Names of modules: a list, or a dict from the student's to the teacher's."""
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    elif isinstance(value, str):
        raise refuse(key, "a list of module paths, or a dict", value, f"Write [{value!r}]")
    elif value is not None and not isinstance(value, (list, tuple)):
        raise refuse(key, "a list of module paths, or a dict", value)
    for entry in value or ():
        text(entry, f"{key}: each module path")


def loss_name(value: Any, key: str) -> None:
    """A name under which MMRazor sums a loss."""
    if not isinstance(value, str) or "loss" not in value or "." in value:
        raise refuse(key, "a name with 'loss' in it and no '.', such as 'loss_freekd'", value)


def argument(parameter: inspect.Parameter, divisors: bool = True) -> Check:
    """A check for an argument of a loss, by its default and by what all losses mean by its name.

    Args:
        parameter: the argument, as the class has it.
        divisors: whether ``beta`` and ``tau`` are divisors, as the hosts' losses mean them.
    """
    name, default = parameter.name, parameter.default
    check: Check = lambda value, key: None  # noqa: E731
    if isinstance(default, bool):
        check = flag
    elif isinstance(default, (int, float)):
        check = number(0 if name.endswith("weight") else None)
        if divisors and name in ("beta", "tau"):
            check = positive
    elif name == "reduction":
        check = reduction
    elif isinstance(default, str):
        check = text
    kinds = get_args(parameter.annotation)
    if any(get_origin(kind) is abc.Mapping for kind in kinds):  # a component: its class checks it
        check = lambda value, key: None  # noqa: E731
    may_be_none = default is None or type(None) in kinds
    return optional(check) if may_be_none else check


def positive(value: Any, key: str) -> None:
    """A finite number of more than 0."""
    number()(value, key)
    if value <= 0:
        raise refuse(key, "a number of more than 0", value)


def reduction(value: Any, key: str) -> None:
    """How a loss puts the differences together."""
    if value not in ("none", "mean", "sum", "batchmean"):
        raise refuse(key, "'mean', 'sum' or 'none'", value)


# --------------------------------------------------------------------------- what can be written
def plain(value: Any, key: str) -> None:
    """Values that a run can write down with its config and read again, as mmcv writes them.

    Raises:
        ConfigError: a class, a function or another object, or a string or a key that would not
            come back as it is.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not _is_key(name):
                raise refuse(key, "keys that are names or integers", name, "Rename the key")
            plain(inner, f"{key}.{name}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            plain(inner, f"{key}[{index}]")
    elif isinstance(value, str):
        if not _comes_back(f"'{value}'", value):
            raise refuse(key, "a string without quotation mark, backslash and control sign", value)
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise refuse(key, "an integer of at most 63 bits", value)
    elif not isinstance(value, (int, float)) and not _comes_back(str(value), value):
        raise refuse(key, "a plain value: text, number, True, False, None, list or dict", value)


def _is_key(name: Any) -> bool:
    if isinstance(name, str):
        return not keyword.iskeyword(name) and _comes_back(f"'{name}'", name)
    return isinstance(name, int) and not isinstance(name, bool) and abs(name) < 2**63


def _comes_back(written: str, value: Any) -> bool:
    if isinstance(value, str) and not value.isprintable():
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes that mean nothing
            return bool(ast.literal_eval(written) == value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
