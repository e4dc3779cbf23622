"""The entry behind ``tools/study.py``."""

import argparse
import contextlib
import os
import signal
import sys
from typing import Iterator

from freekd import compat
from freekd.config.errors import ConfigError
from freekd.study import result
from freekd.study.definition import Study, load_study, with_seeds
from freekd.study.ledger import DONE
from freekd.study.plan import Launch
from freekd.study.progress import read
from freekd.study.runner import Runner


def main(args: argparse.Namespace) -> int:
    """Run what the command line says; returns the exit code."""
    launch = Launch(args.launcher, args.gpus, args.partition, args.device)
    with compat.quiet_imports(), ended_by_signals():
        try:
            study = load_study(args.study)
            if args.seeds is not None:
                study = with_seeds(study, args.seeds)
            if args.work_dir is not None:
                study = study._replace(work_dir=type(study.work_dir)(args.work_dir))
            own_folder(study, args.force)
            runner = Runner(study, launch, args.jobs, args.shard, args.wait)
            if args.dry_run:
                print("\n".join(runner.commands()))
                return 0
            if args.collect:
                runner.look_at_all()
                runner.mine = list(runner.runs)
            else:
                runner.execute()
            content = runner.write()
        except KeyboardInterrupt:
            print("\ninterrupted: the same command goes on from here", file=sys.stderr)
            return 130
        except (ConfigError, OSError) as error:
            if os.environ.get("FREEKD_DEBUG"):
                raise
            print(f"error: {error}\n(FREEKD_DEBUG=1 shows where it came from)", file=sys.stderr)
            return 1
    print("\n" + result.table(content))
    print(f"\nnumbers: {study.work_dir}/study.json")
    return int(any(runner.outcomes[name].status != DONE for name in runner.mine))


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP are like control-C: the children end, too."""
    before = {
        ending: signal.signal(ending, signal.default_int_handler)
        for ending in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)


def own_folder(study: Study, force: bool) -> None:
    """A work folder holds one study.

    Raises:
        ConfigError: it holds another one, or its ``study.json`` cannot be read.
    """
    file = study.work_dir / "study.json"
    if force or not file.exists():
        return
    found = read(file)
    if found is None or found.get("name") != study.name:
        came = "a file that cannot be read" if found is None else f"{found.get('name')!r}"
        raise ConfigError(
            f"{file}: expected a result of the study {study.name!r}, got {came}. Give another "
            "--work-dir (or work_dir in the study), or --force to replace that result; its runs "
            "are kept."
        )
    left_out = sorted(set(found.get("seeds") or ()) - set(study.seeds))
    if left_out:
        raise ConfigError(
            f"{file}: expected all of its seeds {found['seeds']}, got {list(study.seeds)}: the "
            f"table would lose {left_out}. Name them all (finished runs are not run again), or "
            "--force to leave them out; their runs are kept."
        )
