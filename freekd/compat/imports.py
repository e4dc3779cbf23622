"""Importing the 2022-era packages at all."""

import contextlib
import importlib
import logging
import os
import sys
import types
import warnings
from typing import Any, Iterator

import numpy as np


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Without mmcv's notice of its version 2 and torch's of a missing CUDA compiler."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="On January 1, 2023, MMCV will release")
            yield
    finally:
        logger.setLevel(level)


def require(module: str, package: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"freekd needs {package} for training and testing, but importing {module} failed "
            f"({error}). Run: bash tools/setup_env.sh"
        ) from error


def add_numpy_aliases() -> None:
    """numpy >= 1.24 removed np.int & co.; mmdet 2.x and mmcv 1.x still use them."""
    for name, kind in (("int", int), ("float", float), ("bool", bool), ("object", object)):
        if name not in vars(np):
            setattr(np, name, kind)


def stub_pkg_resources() -> None:
    """setuptools >= 82 has no pkg_resources; pytorch_wavelets 1.3 reads its filters with it.

    Only ``resource_stream`` is offered, which is all that is used.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its deprecation notice
            importlib.import_module("pkg_resources")
    except ImportError:
        stub = types.ModuleType("pkg_resources")

        def resource_stream(package: str, resource: str) -> Any:
            folder = os.path.dirname(str(importlib.import_module(package).__file__))
            return open(os.path.join(folder, *resource.split("/")), "rb")

        stub.resource_stream = resource_stream  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = stub


def import_mmrazor() -> None:
    """mmrazor 0.3.1 asserts mmcv <= 1.5.0; the later 0.x branch allows 1.8.0 unchanged.

    Only when that assertion fails, mmcv reports 1.5.0 for the time of the import.
    """
    try:
        importlib.import_module("mmrazor.models")
        return
    except AssertionError:
        pass
    except ImportError as error:
        raise ImportError(
            f"freekd needs mmrazor 0.3.x, but importing it failed ({error}). "
            "Run: bash tools/setup_env.sh"
        ) from error
    import mmcv

    version = mmcv.__version__
    mmcv.__version__ = "1.5.0"
    try:
        importlib.import_module("mmrazor.models")
    finally:
        mmcv.__version__ = version
