"""The checkpoints of a command line: their names, configs, data, and what decides their scores."""

from typing import Any, Dict, List, NamedTuple, Tuple

from freekd import cli
from freekd.analysis import models as command_line
from freekd.analysis.robustness import store
from freekd.config.errors import ConfigError


class Model(NamedTuple):
    """One row of the table, before it is computed."""

    name: str
    config: str
    checkpoint: str
    key: str  # see freekd.analysis.robustness.store.key_of


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
    for name, config, checkpoint in command_line.models(args.config, args.checkpoints):
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
