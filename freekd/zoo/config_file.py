"""Reading config files: every error names the file, the line and the reason.

Beside mmcv's own rules, the modules of ``custom_imports`` are found in the config's folder and in
the current one, too, after everything that Python finds by itself.
"""

import contextlib
import importlib
import linecache
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple, Union

from mmcv import Config

_FORM = "custom_imports = dict(imports=['a_module'], allow_failed_imports=False)"


class ConfigFileError(ValueError):
    """A config file that cannot be read; the message names the file, the line and the reason."""


def read_config(path: Union[str, Path], imports: bool = True) -> Config:
    """The config in a file, ``_base_`` merged and the modules of ``custom_imports`` imported.

    The config's folder and the current one come to the end of ``sys.path``.

    Args:
        path: of a ``.py``, ``.json`` or ``.yaml`` file.
        imports: False leaves the modules of ``custom_imports`` for later.

    Raises:
        ConfigFileError: no such file, a file that does not run or cannot be merged over its
            ``_base_``, or a module of ``custom_imports`` that cannot be imported.
    """
    path = str(path)
    for folder in (os.path.dirname(os.path.abspath(path)), os.getcwd()):
        if folder not in sys.path:
            sys.path.append(folder)
    importlib.invalidate_caches()  # a module may have been written a moment ago
    places = list(sys.path)
    try:
        cfg = Config.fromfile(path, import_custom_modules=False)
    except Exception as error:
        sys.path[:] = places  # mmcv leaves its temporary folder there
        reason = _why_unreadable(error, path)
        _close_copies(error)
        raise ConfigFileError(reason) from error
    if imports:
        import_modules(cfg.get("custom_imports"), path)
    return cfg


def innermost(error: BaseException) -> BaseException:
    """The error that came first, where others were raised while it was handled."""
    seen: List[BaseException] = []
    node: Optional[BaseException] = error
    while node is not None and node not in seen:
        seen.append(node)
        node = node.__cause__ or node.__context__
    return seen[-1]


def described(error: BaseException) -> str:
    """Type and text of an error, in one line of words.

    >>> described(KeyError("depth")), described(AssertionError())
    ("KeyError: 'depth'", 'AssertionError')
    """
    return f"{type(error).__name__}: {error}".rstrip(": ")


# --------------------------------------------------------------------------- the file itself
def _why_unreadable(error: Exception, path: str) -> str:
    file, line = _place(error, path)
    where = file if line is None else f"{file}, line {line}"
    source = linecache.getline(file, line).strip() if line else ""
    if source:
        where += f" ({source})"
    if isinstance(error, SyntaxError):
        cause = innermost(error)
        text = cause.msg if isinstance(cause, SyntaxError) else str(error)
        return f"{where}: the config has a syntax error: {text}. Correct the line."
    if isinstance(error, FileNotFoundError) and line is None:
        named = "" if os.path.abspath(path) == file else f" (it is a _base_ of {path})"
        return f"{file}: expected a config file, found none{named}. Correct the path."
    remedy = "Correct the file."
    if isinstance(error, ImportError):
        remedy = f"Install the module, or {_on_the_path(path)}"
    return f"{where}: the config cannot be read, {described(error)}. {remedy}"


def _place(error: BaseException, path: str) -> Tuple[str, Optional[int]]:
    """The file, among the config and its bases, where reading ended, and the line if known."""
    file, copy, line = os.path.abspath(path), None, None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "_file2dict" and "filename" in frame.f_locals:
            file, line = os.path.abspath(str(frame.f_locals["filename"])), None
            copy = getattr(frame.f_locals.get("temp_config_file"), "name", None)
        elif copy and os.path.basename(frame.f_code.co_filename) == os.path.basename(copy):
            line = number  # mmcv runs a copy, whose lines are those of the file
    if isinstance(error, SyntaxError):
        line = getattr(innermost(error), "lineno", None)
    return file, line


def _close_copies(error: BaseException) -> None:
    """mmcv's copies of the files, whose folder is gone: they would complain when collected."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        copy = frame.f_locals.get("temp_config_file")
        if frame.f_code.co_name == "_file2dict" and copy is not None:
            with contextlib.suppress(OSError):
                copy.close()


# --------------------------------------------------------------------------- custom_imports
def import_modules(given: Any, path: str) -> None:
    """What ``custom_imports`` of the config at ``path`` says.

    Raises:
        ConfigFileError: a module that cannot be imported, and why.
    """
    if not given:
        return
    if not isinstance(given, Mapping) or not set(given) <= {"imports", "allow_failed_imports"}:
        raise ConfigFileError(f"{path}: custom_imports: expected {_FORM}, got {given!r}.")
    names = given.get("imports") or []
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        raise ConfigFileError(
            f"{path}: custom_imports.imports: expected a list of module names, got {names!r}."
        )
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a script that reads the command line
            reason = _why_not_imported(error, name, path)
            if not (isinstance(error, ImportError) and given.get("allow_failed_imports")):
                raise ConfigFileError(reason) from error
            warnings.warn(f"{reason} It is left out (allow_failed_imports=True).", stacklevel=3)


def _why_not_imported(error: BaseException, name: str, path: str) -> str:
    start = f"{path}: custom_imports: {name!r} cannot be imported: "
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and (name == missing or name.startswith(f"{missing}.")):
        return f"{start}no module {missing!r} was found. Correct the name, or {_on_the_path(path)}"
    if isinstance(error, SyntaxError):
        return f"{start}{error.filename}, line {error.lineno}: {described(error)}. Correct it."
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    last = frames[-1] if frames else None
    where = f"at {last.filename}, line {last.lineno} ({last.line}), " if last else ""
    remedy = "Correct it"
    if isinstance(error, ImportError):
        remedy += f", install what it imports, or {_on_the_path(path)}"
    return f"{start}{where}{described(error)}. {remedy.rstrip('.')}."


def _on_the_path(path: str) -> str:
    now = os.environ.get("PYTHONPATH")
    return (
        "put the folder that holds it into PYTHONPATH (now "
        f"{now if now else 'not set'}); the config's folder "
        f"{os.path.dirname(os.path.abspath(path))} and the current one, {os.getcwd()}, are looked "
        "through, too."
    )
