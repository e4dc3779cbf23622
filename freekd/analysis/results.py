"""Results of models on one data set: from the model itself, kept in a file, or from one given.

A model's results are kept as ``.npz`` under a name that is a digest of all they depend on: the
checkpoint's bytes, the config's model and test data, and the files that these name. So another
tool, or the same one with other thresholds, need not run the model again.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from freekd import cli, tasks
from freekd.analysis import models as command_line
from freekd.analysis.models import AnalysisError, Model, versions
from freekd.fileio import file_digest
from freekd.tasks.objects import Objects, from_arrays

FORMAT = 1  # of the kept files


class Results(NamedTuple):
    """What one model did.

    Attributes:
        model: its files.
        found: detections of each image; None where the task has no objects.
        counts: region -> (K, K), where it has none; else empty.
    """

    model: Model
    found: Optional[List[Objects]]
    counts: Dict[str, np.ndarray]


class Compared(NamedTuple):
    """Results of several models on one data set.

    Attributes:
        task: its name.
        classes: what the labels of the first model's data set mean, in their order.
        truth: the labelled objects of each image; None where the task has no objects.
        models: the results.
        data: what the data set's files are.
    """

    task: str
    classes: List[str]
    truth: Optional[List[Objects]]
    models: List[Results]
    data: str = ""


def of_command(
    args: Any, written: Callable[[Sequence[Model]], List[str]]
) -> Tuple[Path, "Compared"]:
    """The folder and the results that a command line of ``tools/analysis`` is about.

    Args:
        args: of :func:`freekd.cli.confusion` or :func:`freekd.cli.errors`.
        written: the names of the files that the tool writes, of the chosen models.

    Raises:
        AnalysisError: such a file exists already, and as :func:`collect`.
    """
    out = Path(args.out or Path("work_dirs") / "analysis" / Path(args.config).stem)
    chosen = command_line.models(args.config, [args.checkpoint, *args.models])
    command_line.check_output(out, written(chosen), args.force)
    options = cli.cfg_options(args)
    compared = collect(chosen, out / "results", args.device, options, args.allow_missing, args.ema)
    return out, compared


def collect(
    models: Sequence[Model],
    keep_in: Path,
    device: Optional[str] = None,
    options: Optional[Dict[str, Any]] = None,
    allow_missing: bool = False,
    ema: bool = False,
) -> Compared:
    """The results of ``models`` on ``data.test`` of their configs, which must be one data set.

    Args:
        models: one or more.
        keep_in: the folder of kept results.
        device: default: cuda if there is one.
        options: changes of all configs.
        allow_missing, ema: as for :func:`freekd.engine.test.test`.

    Raises:
        AnalysisError: the data sets differ, or results are of another one.
        ConfigError, CheckpointError: as for :func:`freekd.engine.test.test`.
    """
    from freekd.config import checks, load
    from freekd.engine import datasets, launch

    configs = [load.load_config(model.config, options) for model in models]
    names = [checks.check_config(cfg, ("test",)) for cfg in configs]
    for model, cfg, name in zip(models, configs, names):
        cfg.device = launch.choose_device(device or cfg.get("device"))
        _check_same_data(models[0], configs[0], names[0], model, cfg, name)
    classes: List[str] = []
    truth: Optional[List[Objects]] = None
    done: List[Results] = []
    for model, cfg, name in zip(models, configs, names):
        loader = datasets.build_eval_loader(cfg, "test", name, False)
        own = tasks.get(name).class_names(loader.dataset)
        try:
            if not done:
                classes, truth = own, tasks.get(name).objects(loader.dataset)
            order = _order(models[0], classes, model, own)
            arrays = _arrays(model, cfg, name, loader, keep_in, allow_missing, ema)
        except tasks.TaskError as error:
            raise AnalysisError(f"{model.name}: {error}") from error
        if truth is None:
            place = np.argsort(order)
            counts = {region: table[np.ix_(place, place)] for region, table in arrays.items()}
            done.append(Results(model, None, counts))
        else:
            largest = int(arrays["label"].max(initial=-1))
            if largest >= len(own):
                raise AnalysisError(
                    f"{model.name}: expected results of the {len(own)} classes of data.test, got "
                    f"class {largest} (they count from 0). Correct num_classes, or classes."
                )
            arrays["label"] = np.asarray(order, dtype=np.int64)[arrays["label"]]
            done.append(Results(model, from_arrays(arrays, len(truth)), {}))
    return Compared(names[0], classes, truth, done, _short(_data_name(configs[0], names[0])))


# --------------------------------------------------------------------------- one data set
def _data_name(cfg: Any, task: str) -> str:
    """The files of ``data.test``, or its type where it names none."""
    test = cfg.data.test
    parts = test if isinstance(test, (list, tuple)) else [test]
    paths = [os.path.realpath(path) for part in parts for _, path in tasks.get(task).files(part)]
    return ", ".join(sorted(set(paths))) or str([part.get("type") for part in parts])


def _short(name: str) -> str:
    """The last three parts of each path, which say enough and nothing of the machine."""
    return ", ".join("/".join(Path(path).parts[-3:]) for path in name.split(", "))


def _check_same_data(
    first: Model, first_cfg: Any, first_task: str, model: Model, cfg: Any, task: str
) -> None:
    want, came = _data_name(first_cfg, first_task), _data_name(cfg, task)
    if task != first_task or want != came:
        raise AnalysisError(
            f"Expected models of one data set, got {first.name} of {want} ({first_task}) and "
            f"{model.name} of {came} ({task}). Compare models of one data set, or change "
            "data.test in a config."
        )


def _order(first: Model, classes: List[str], model: Model, own: List[str]) -> List[int]:
    """Where each class of a model's data set stands among the first's."""
    if sorted(own) != sorted(classes) or len(set(own)) != len(own):
        raise AnalysisError(
            f"Expected models of one data set, got {first.name} with the classes "
            f"{', '.join(classes)} and {model.name} with {', '.join(own)}. Give data.test of both "
            "configs the same classes."
        )
    return [classes.index(name) for name in own]


# --------------------------------------------------------------------------- kept results
def _arrays(
    model: Model, cfg: Any, task: str, loader: Any, keep_in: Path, allow_missing: bool, ema: bool
) -> Dict[str, np.ndarray]:
    if model.checkpoint.endswith(".json"):
        return tasks.get(task).read_results(loader.dataset, model.checkpoint)
    kept = keep_in / f"{digest(cfg, task, model.checkpoint, ema)[:16]}.npz"
    arrays = _kept(kept)
    if arrays is not None:
        print(f"{model.name}: results of {kept}")
        return arrays
    print(f"{model.name}: testing {model.checkpoint}")
    arrays = run(cfg, task, model.checkpoint, loader, allow_missing, ema)
    from freekd.fileio import atomic_path

    with atomic_path(kept) as temp, open(temp, "wb") as handle:
        np.savez_compressed(handle, **arrays)
    return arrays


def _kept(path: Path) -> Optional[Dict[str, np.ndarray]]:
    """Arrays of a file that is there and whole."""
    if not path.is_file():
        return None
    try:
        with np.load(str(path), allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except Exception as error:  # of a damaged file: zipfile's, zlib's, numpy's
        print(f"warning: {path} cannot be read ({error}); the model is run again")
        return None


def run(
    cfg: Any, task: str, checkpoint: str, loader: Any, allow_missing: bool, ema: bool
) -> Dict[str, np.ndarray]:
    """Test a checkpoint, as :func:`freekd.engine.test.test` does."""
    from freekd.engine.test import load_for_test, ready

    model, meta = load_for_test(cfg, checkpoint, task, allow_missing, ema)
    model = ready(model, meta, loader.dataset, cfg.device)
    arrays = tasks.get(task).results(model, loader)
    print()
    return arrays


def digest(cfg: Any, task: str, checkpoint: str, ema: bool) -> str:
    """Of all that a model's results depend on: another one for every change.

    Of folders of images the names, sizes and times of the files count, not their content.
    """
    test = cfg.data.test
    parts = test if isinstance(test, (list, tuple)) else [test]
    paths = sorted({path for part in parts for _, path in tasks.get(task).files(part)})
    keys = ("model", "algorithm", "train_cfg", "test_cfg", "custom_imports", "device")
    text = {key: cfg.get(key) for key in keys}
    text.update(data=test, loader=cfg.data.get("test_dataloader"), task=task, ema=ema)
    text.update(versions=versions())
    total = hashlib.sha256(f"{FORMAT}".encode())
    total.update(json.dumps(text, sort_keys=True, default=repr).encode())
    total.update(bytes.fromhex(file_digest(checkpoint)))
    for path in paths:
        for part in _of_path(Path(path)):
            total.update(part)
    return total.hexdigest()


def _of_path(path: Path) -> Iterator[bytes]:
    if path.is_file():
        yield bytes.fromhex(file_digest(path))
    for folder, inner, names in os.walk(str(path)):
        inner.sort()
        for name in sorted(names):
            with contextlib.suppress(OSError):  # a link to nothing
                stat = os.stat(os.path.join(folder, name))
                yield f"{folder}/{name} {stat.st_size} {stat.st_mtime_ns}".encode()
