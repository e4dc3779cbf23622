"""What a run's first training step raises is mostly about the config: it is said so."""

import contextlib
from typing import Any, Iterator

from freekd.config.errors import ConfigError
from freekd.config.explain import explained
from freekd.engine.friendly import HELPFUL, LOST


@contextlib.contextmanager
def first_step(runner: Any) -> Iterator[None]:
    """Turn what a model or a loss raises in a run's first training step into a ConfigError.

    Only there do many parts say that they do not fit: a loss that wants boxes and gets maps, a head
    without its ``train_cfg``. What is raised later is no matter of the config and stays as it is;
    so does what :func:`freekd.engine.friendly.friendly_errors` has words for.

    Args:
        runner: mmcv's, before ``run``.
    """
    start = runner.iter
    try:
        yield
    except HELPFUL + (FloatingPointError,):
        raise
    except Exception as error:
        text = str(error)
        if runner.iter > start or LOST.search(text) or "finished reduction" in text:
            raise
        raise ConfigError(
            f"The first training step does not run ({type(error).__name__}): {explained(error)}. "
            "Correct the part of the config that this comes from, or leave it out."
        ) from error
