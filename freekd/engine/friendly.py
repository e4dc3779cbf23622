"""Errors that help are printed as one line, by one of several processes."""

import contextlib
import os
import re
import sys
import time
import traceback
from types import SimpleNamespace
from typing import Iterator, Tuple

import torch

from freekd.checks import FeatureError
from freekd.config.load import ConfigError
from freekd.engine.checkpoint import CheckpointError
from freekd.fileio import UnreadableFileError
from freekd.zoo.download import DownloadError

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]

HELPFUL = (
    ConfigError,
    FeatureError,
    CheckpointError,
    UnreadableFileError,
    FileNotFoundError,
    DownloadError,
)
LOST = re.compile(r"closed by peer|reset by peer|broken pipe|connection refused", re.IGNORECASE)


@contextlib.contextmanager
def friendly_errors() -> Iterator[SimpleNamespace]:
    """Print errors that help as one line; everything else keeps its traceback.

    Of several processes that fail alike only the first prints. The object given has the exit
    ``code``. ``FREEKD_DEBUG=1`` shows every traceback.
    """
    outcome = SimpleNamespace(code=0)
    rank, world_size = _place()
    try:
        yield outcome
    except HELPFUL + (FloatingPointError,) as error:
        if os.environ.get("FREEKD_DEBUG"):
            raise
        _let_first_process_speak()
        outcome.code = 1
        print(f"error: {error}\n(FREEKD_DEBUG=1 shows where it came from)", file=sys.stderr)
    except KeyboardInterrupt:
        outcome.code = 130
        if rank == 0:
            print("interrupted; --auto-resume continues from the last checkpoint", file=sys.stderr)
    except Exception as error:
        if world_size == 1:
            raise
        outcome.code = 1
        lost = LOST.search(str(error)) and not os.environ.get("FREEKD_DEBUG")
        if not lost:
            _let_first_process_speak()
            traceback.print_exc()
            if "finished reduction" in str(error):  # torch's words for it are long
                print(
                    "hint: some trainable parameters take no part in the loss. Set "
                    "find_unused_parameters=True in the config, or freeze them",
                    file=sys.stderr,
                )
        else:
            time.sleep(2 * _PAUSE)  # the launcher ends this process before it complains
            print(
                f"error: process {rank} lost the connection to another one, which has ended or was "
                f"killed: see its message, if it left one ({str(error).splitlines()[-1]})",
                file=sys.stderr,
            )
    if outcome.code and torch.distributed.is_initialized():
        # Leaving the group now could wait for the others, or abort: end here.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(outcome.code)


_PAUSE = 3.0  # seconds; a launcher notices within one that a process failed, and ends the others


def _place() -> Tuple[int, int]:
    """(rank, number of processes) as torchrun or slurm has it; also before they are joined."""
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:
        return int(env["RANK"]), int(env["WORLD_SIZE"])
    return int(env.get("SLURM_PROCID", 0)), int(env.get("SLURM_NTASKS", 1))


def _let_first_process_speak() -> None:
    """An error in all processes is printed by the first: the launcher ends the others meanwhile."""
    rank, world_size = _place()
    if rank > 0 and world_size > 1:
        time.sleep(_PAUSE)
