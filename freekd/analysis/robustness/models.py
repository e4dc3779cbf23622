"""The checkpoints of a command line: their names, configs, data, and what decides their scores."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from freekd import cli
from freekd.analysis.robustness import store
from freekd.config.errors import ConfigError

_COMMON = ("latest", "student")  # names of files that many folders have
_COUNTED = ("epoch_", "iter_", "best_")


class Model(NamedTuple):
    """One row of the table, before it is computed."""

    name: str
    config: str
    checkpoint: str
    key: str  # see freekd.analysis.robustness.store.key_of


def split_name(text: str) -> Tuple[Optional[str], Optional[str], str]:
    """(name, config, checkpoint) of an argument; None for what is not in it.

    >>> split_name("a=b/c.pth"), split_name("a=x.py,c.pth"), split_name("x.pth")
    (('a', None, 'b/c.pth'), ('a', 'x.py', 'c.pth'), (None, None, 'x.pth'))
    """
    name: Optional[str] = None
    if "=" in text and not Path(text).is_file():  # a file's name may hold the sign
        name, _, text = text.partition("=")
    config, sign, checkpoint = text.partition(".py,")
    return (name, f"{config}.py", checkpoint) if sign else (name, None, text)


def short_name(checkpoint: str) -> str:
    """What a model is called if nobody says it.

    >>> short_name("work/freekd/latest.pth"), short_name("work/epoch_8.pth"), short_name("mine.pth")
    ('freekd', 'work', 'mine')
    """
    path = Path(checkpoint)
    common = path.stem in _COMMON or path.stem.startswith(_COUNTED)
    return path.absolute().parent.name if common else path.stem


def read_config(args: Any, path: str) -> Any:
    """A config as it is tested; workers do not outlive a pass, since the next has other images."""
    from freekd.config import load
    from freekd.engine import launch

    cfg = load.load_config(path, cli.cfg_options(args))
    cfg.device = launch.choose_device(args.device or cfg.get("device"))
    for part in (cfg.get("data") or {}, (cfg.get("data") or {}).get("test_dataloader") or {}):
        part.pop("persistent_workers", None)
    return cfg


def read_models(args: Any) -> Tuple[List[Model], store.Data, str]:
    """The rows, the data set that all share, and the task's name.

    Args:
        args: of :func:`freekd.cli.robustness`.

    Raises:
        ConfigError, CheckpointError, FileNotFoundError, UnreadableFileError: a config or a
            checkpoint that is missing or wrong; two models with one name, of two tasks, or of two
            data sets.
    """
    from freekd.config import checks
    from freekd.engine import metrics as scoring
    from freekd.fileio import load_checkpoint_file

    models: Dict[str, Model] = {}
    data: Dict[str, store.Data] = {}
    kinds: Dict[str, str] = {}
    more = dict(as_mmdet=args.as_mmdet, ema=args.ema)
    for text in args.checkpoints:
        name, config, checkpoint = split_name(text)
        name, config = name or short_name(checkpoint), config or args.config
        if name in models:
            raise ConfigError(
                f"Expected a name of its own for each checkpoint, got {name!r} for two: "
                f"{models[name].checkpoint} and {checkpoint}. Write OTHER_NAME={checkpoint}."
            )
        load_checkpoint_file(checkpoint)  # before hours of work on another one
        cfg = read_config(args, config)
        kinds[name] = checks.check_config(cfg, ("test",))
        data[name] = store.data_of(cfg, kinds[name])
        options = scoring.evaluate_options(cfg, args.eval)
        key = store.key_of(cfg, checkpoint, data[name], options, more)
        models[name] = Model(name, config, checkpoint, key)
    if len(set(kinds.values())) > 1:
        raise ConfigError(f"Expected models of one task in a table, got {kinds}. Make two tables.")
    return list(models.values()), store.check_same_data(data), next(iter(kinds.values()))
