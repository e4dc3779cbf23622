"""What a constructor's exception says about a config, in words that help."""

import contextlib
import difflib
import re
import traceback
from typing import Any, Iterator, List, Optional, Tuple

from mmcv.utils import Registry

from freekd import tasks
from freekd.config.errors import ConfigError

# of these the text alone says little: the place says more
_TERSE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    StopIteration,
    TypeError,
)
_WRAPPER = "checked"  # of a constructor, see freekd.frequency.transform.refuses_old
_LOOKUPS = ("mmcv/utils/config.py", "addict/addict.py")  # the place that asked says more


def explained(error: Exception) -> str:
    """The text of ``error``; where it says little, with the file, line and source that raised it.

    A type that no registry knows gets the nearest names.
    """
    first, builders = _origin(error)
    text = ": ".join([*builders, _text(first)])
    if isinstance(first, AttributeError) and "'parent'" in str(first):  # mmcv's registry
        hosts = ", ".join(task.package for task in tasks.every())
        return (
            ": ".join([*builders, "the name before the dot of a type is no package of OpenMMLab's"])
            + f" that is imported here; expected {hosts}, mmrazor, or no name at all"
        )
    unknown = _unknown_type(first)
    if unknown is not None:
        return f"{text}. {unknown}"
    if not _text(first).strip() or isinstance(first, _TERSE):
        text = text.rstrip(": ") or "it ended without a word"
        frames = traceback.extract_tb(first.__traceback__)
        while frames and (frames[-1].filename.endswith(_LOOKUPS) or frames[-1].name == _WRAPPER):
            frames.pop()
        if frames and not frames[-1].filename.endswith("registry.py"):
            last = frames[-1]
            text += f" (at {last.filename}, line {last.lineno}: {last.line})"
    return text


def _text(error: BaseException) -> str:
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # str(error) would put it into quotation marks
    return str(error)


def _origin(error: BaseException) -> Tuple[BaseException, List[str]]:
    """mmcv's builder raises an error anew, with a class's name before its text.

    Returns:
        The first error, and the names, outermost first.
    """
    builders = []
    inner = error.__context__
    while inner is not None and type(inner) is type(error) and _text(error).endswith(str(inner)):
        before = _text(error)[: len(_text(error)) - len(str(inner))]
        if re.fullmatch(r"\w+: ", before) is None:  # more than a class's name: it says more
            break
        builders.append(before[:-2])
        error, inner = inner, inner.__context__
    return error, builders


def _unknown_type(error: BaseException) -> Optional[str]:
    frames = list(traceback.walk_tb(error.__traceback__))
    if not isinstance(error, KeyError) or not frames:
        return None
    frame = frames[-1][0]
    registry, name = frame.f_locals.get("registry"), frame.f_locals.get("obj_type")
    if not isinstance(registry, Registry) or not isinstance(name, str):
        return None
    near = nearest_types(registry, name)
    return (
        f"Nearest: {', '.join(near) or 'none'}. Correct the type; the module of a class of your "
        "own must be named in custom_imports"
    )


def nearest_types(registry: Any, name: str) -> List[str]:
    """The names in ``registry`` and those around it that are most like ``name``.

    Those of another registry come with its scope, ``mmdet.L1Loss``, as a config must name them.
    """
    root = registry
    while root.parent is not None:
        root = root.parent
    names = {short: short for short in registry.module_dict}
    for scope, other in root.children.items():
        for short in other.module_dict:
            names.setdefault(short, f"{scope}.{short}")
    for short in root.module_dict:
        names.setdefault(short, short)
    near = difflib.get_close_matches(name.rsplit(".", 1)[-1], list(names), n=3)
    return [names[short] for short in near]


@contextlib.contextmanager
def building(what: str) -> Iterator[None]:
    """Turn what a constructor says about its arguments into a :class:`ConfigError`.

    Whatever it raises: a model of the user's may assert, divide or index.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{what} ({type(error).__name__}): {explained(error)}") from error
