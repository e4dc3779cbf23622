"""Start the processes of a run over torchrun: a free port, one readable error, nothing left behind.

    python -m freekd.engine.torchrun PROCESSES SCRIPT [ARGUMENTS]

is what ``tools/dist_train.sh`` and ``tools/dist_test.sh`` call. torchrun itself prints a traceback
of its own when a process fails, meets another run at a fixed port, and leaves its processes running
when it is killed; here a process ends with its launcher (:func:`end_with_launcher`). From the
environment: ``NNODES``, ``NODE_RANK``, ``MASTER_ADDR``, ``PORT`` (several machines).
"""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from typing import Any, List, Mapping, NamedTuple, Optional

DEFAULT_PORT = 29500  # where several machines meet, unless PORT says otherwise
_LAUNCHER = "FREEKD_LAUNCHER_PID"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Group(NamedTuple):
    """The processes to start on this machine, and where all of them meet."""

    processes: int
    nnodes: int = 1
    node_rank: int = 0
    master_addr: str = "127.0.0.1"
    port: Optional[int] = None  # None: a free one


def read_group(processes: str, environment: Mapping[str, str]) -> Group:
    """The group from the command's number of processes and the environment.

    Raises:
        ValueError: with the name, what was expected, what came, and the remedy.
    """

    def number(name: str, text: str, least: int, most: float, remedy: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            upper = "" if most == float("inf") else f" to {most}"
            raise ValueError(
                f"{name}: expected a number from {least}{upper}, got {text!r}. {remedy}"
            )
        return int(text)

    count = number(
        "GPUS", processes, 1, float("inf"), "It is the number of processes on this machine."
    )
    given = {key: value for key, value in environment.items() if value}
    nnodes = number(
        "NNODES", given.get("NNODES", "1"), 1, float("inf"), "It is the number of machines."
    )
    node_rank = number(
        "NODE_RANK", given.get("NODE_RANK", "0"), 0, nnodes - 1,
        f"It is this machine's number among NNODES={nnodes}.",
    )  # fmt: skip
    port = None
    if "PORT" in given:
        port = number("PORT", given["PORT"], 1, 65535, "Leave it out for a free one.")
    if nnodes > 1:
        for name in ("NODE_RANK", "MASTER_ADDR"):
            if name not in given:
                raise ValueError(
                    f"{name}: NNODES={nnodes} machines need it, found none. Start on each machine "
                    f"with NNODES={nnodes} NODE_RANK=<0 to {nnodes - 1}> MASTER_ADDR=<name or "
                    "address of machine 0> [PORT=<the same on all>]."
                )
        return Group(count, nnodes, node_rank, given["MASTER_ADDR"], port or DEFAULT_PORT)
    return Group(count, port=port)  # whatever a cluster's own MASTER_ADDR says


def free_port() -> int:
    """A port that nobody uses now, of the many that the system chooses from."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def is_taken(port: int) -> bool:
    """Whether another program listens at ``port`` of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def run(group: Group, command: List[str]) -> int:
    """Start the processes, wait for them, and return the exit code."""
    if group.port is not None and group.node_rank == 0 and is_taken(group.port):
        print(
            f"error: PORT: expected a free port, but {group.port} is in use on this machine by "
            "another run or program. Give another one with PORT (the same on all machines)"
            + (", or leave PORT out." if group.nnodes == 1 else "."),
            file=sys.stderr,
        )
        return 2
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    if not os.environ.get("FREEKD_DEBUG"):  # its warnings and errors repeat what we say
        logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
        logging.getLogger("torch.distributed.run").setLevel(logging.CRITICAL)
    os.environ[_LAUNCHER] = str(os.getpid())
    attempts = 1 if group.port is not None else 3
    for attempt in range(1, attempts + 1):
        arguments = [
            f"--nnodes={group.nnodes}",
            f"--node_rank={group.node_rank}",
            f"--nproc_per_node={group.processes}",
            f"--master_addr={group.master_addr}",
            f"--master_port={group.port or free_port()}",
            *command,
        ]
        try:
            torchrun.run(torchrun.parse_args(arguments))
        except ChildFailedError as error:
            return _report(error, group)
        except SignalException as error:
            name = signal.Signals(error.sigval).name
            print(f"{name}: all processes of this run were ended", file=sys.stderr)
            return 128 + int(error.sigval)
        except RuntimeError as error:  # another program was faster to take the port
            if attempt < attempts and "EADDRINUSE" in str(error):
                continue
            raise
        return 0
    return 1


def _report(error: Any, group: Group) -> int:
    """One line about the process that failed first; what it said itself stands above."""
    rank, failure = error.get_first_failure()
    code = int(failure.exitcode)
    if code < 0:
        name = signal.Signals(-code).name
        how = f"was killed by {name}"
        if name == "SIGKILL":
            how += " (out of memory, or kill -9)"
    else:
        how = f"ended with exit code {code}"
    total = group.processes * group.nnodes
    print(
        f"error: process {rank} of {total} (numbered from 0) {how}; the others on this machine "
        "were ended with it",
        file=sys.stderr,
    )
    return code if code > 0 else 128 - code


def end_with_launcher() -> None:
    """Let the kernel kill this process when its launcher dies, in whatever way.

    torchrun's processes are in sessions of their own: without this, ``kill -9`` of the launcher
    leaves them writing into the work dir. Does nothing for a process that was started otherwise,
    and where there is no Linux.
    """
    launcher = os.environ.get(_LAUNCHER, "")
    if not launcher.isdigit() or not sys.platform.startswith("linux"):
        return
    if os.getppid() == int(launcher):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    try:
        os.kill(int(launcher), 0)
    except ProcessLookupError:  # it died before we could ask
        sys.exit(f"error: the launcher of this process (pid {launcher}) has ended")
    except OSError:
        return


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``python -m freekd.engine.torchrun``; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if len(argv) < 2:
        print("usage: python -m freekd.engine.torchrun PROCESSES SCRIPT [...]", file=sys.stderr)
        return 2
    try:
        group = read_group(argv[0], os.environ)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return run(group, argv[1:])


if __name__ == "__main__":
    sys.exit(main())
