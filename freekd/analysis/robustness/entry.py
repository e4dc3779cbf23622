"""The entry behind ``tools/analysis/robustness.py``: what models keep on corrupted images.

Every checkpoint is evaluated as ``tools/test.py`` does it, once on the clean images and once for
each corruption and severity. ``corruptions.py`` and ``images.py`` make the images, ``evaluate.py``
does the work, ``store.py`` keeps each score as it comes, ``table.py`` has mPC and rPC.
"""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from freekd import cli, compat


def main(argv: Optional[List[str]] = None) -> int:
    """Entry of ``tools/analysis/robustness.py``; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    args = cli.robustness(given)
    compat.hide_gpus_if_asked(given)
    compat.apply()
    from freekd.engine import friendly, launch

    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    with friendly.friendly_errors() as outcome, launch.process_group(args.launcher) as distributed:
        try:
            outcome.code = run(args, given, distributed)
        except KeyboardInterrupt:
            if "FREEKD_PART" not in os.environ:  # of --jobs: the first process says it
                print("\ninterrupted; the same command goes on where it was", file=sys.stderr)
            outcome.code = 130
    return int(outcome.code)


def run(args: Any, given: Sequence[str], distributed: bool = False) -> int:
    """Compute what is missing, then write the table; returns the exit code.

    Args:
        args: of :func:`freekd.cli.robustness`.
        given: the command line that they were made of.
        distributed: the process group is there.

    Raises:
        ConfigError, CheckpointError: with what was expected, what came, and a remedy.
    """
    from mmcv.runner import get_dist_info

    from freekd.analysis.models import check_folder
    from freekd.analysis.robustness import corruptions, evaluate, store, table
    from freekd.analysis.robustness.models import read_models
    from freekd.config.errors import ConfigError

    names = corruptions.check_names(args.corruptions or corruptions.NAMES)
    severities = corruptions.check_severities(args.severities or corruptions.SEVERITIES)
    corruptions.package()
    models, data, task = read_models(args)
    out = Path(args.out or Path(models[0].checkpoint).parent / "analysis")
    check_folder(out)
    cells: List[Any] = [(name, severity) for name in names for severity in severities]
    if not args.force:
        keys = {model.name: model.key for model in models}
        store.check_may_write(out / store.RESULT, keys, cells, args.metric)
    kept = store.Store(str(out))

    def missing(part: List[Any]) -> List[Any]:
        return [cell for cell in part if any(kept.read(m.key, cell) is None for m in models)]

    # Not the other way round: the parts of several processes must fit together.
    todo = missing(store.split([None, *cells], args.shard))
    if distributed:
        import torch

        shared = [todo]
        torch.distributed.broadcast_object_list(shared, src=0)
        todo = shared[0]
    if todo and args.jobs > 1:
        code = evaluate.side_by_side(given, min(args.jobs, len(cells) + 1))
        if code:
            return code
    elif todo:
        evaluate.compute(args, models, kept, todo, distributed)
    if args.shard[1] > 1:
        if "FREEKD_PART" not in os.environ:
            print("When all parts are there, the command without --shard writes the table.")
        return 0
    if get_dist_info()[0] == 0:
        if missing([None, *cells]):
            raise ConfigError(
                f"Expected all scores in {kept.folder}, but some are missing: another process "
                "removed them, or another checkpoint was written meanwhile. Run the command again."
            )
        result = _result(args, given, models, data, task, kept, names, severities)
        table.draw(result, out / store.PICTURE)  # first: a table names only what is there
        _write(result, out)
    return 0


def _result(
    args: Any, given: Sequence[str], models: List[Any], data: Any, task: str, kept: Any,
    names: List[str], severities: List[int],
) -> Dict[str, Any]:  # fmt: skip
    """What ``robustness.json`` holds."""
    from freekd.analysis.models import versions
    from freekd.analysis.robustness import corruptions, store, table
    from freekd.analysis.robustness.evaluate import metric_of, value_of

    metric = metric_of(args.metric, kept.read(models[0].key, None), task)
    rows = []
    for model in models:
        clean = value_of(kept.read(model.key, None), metric)
        scores = {
            name: {str(s): value_of(kept.read(model.key, (name, s)), metric) for s in severities}
            for name in names
        }
        means = table.summary(clean, scores)
        rows.append(
            dict(
                name=model.name, config=model.config, checkpoint=model.checkpoint, clean=clean,
                mPC=means["mPC"], rPC=means["rPC"], scores=scores, key=model.key,
            )
        )  # fmt: skip
    return dict(
        kind="robustness",
        task=task,
        metric=metric,
        data=data.name,
        data_digest=data.digest,
        corruptions=names,
        severities=severities,
        channels="as loaded" if args.as_mmdet else "RGB",
        models=rows,
        pictures=[store.PICTURE],
        versions=versions(),
        corruption_packages=corruptions.versions(),
        command="python tools/analysis/robustness.py " + shlex.join(given),
    )


def _write(result: Dict[str, Any], out: Path) -> None:
    """``robustness.json``, and the tables on the screen."""
    from freekd.analysis.robustness import store, table
    from freekd.fileio import atomic_write_text

    atomic_write_text(out / store.RESULT, json.dumps(result, indent=1) + "\n")
    severities = ", ".join(map(str, result["severities"]))
    print("\n".join(["", *table.text(result), ""]))
    print(f"{result['data']}: {len(result['corruptions'])} corruptions, severities {severities}")
    print(f"Written: {out / store.RESULT}, {out / store.PICTURE}")
