"""What a dataset's ``evaluate`` is asked, and what of its answer is a score.

``cfg.evaluation`` holds options of two kinds: some are the evaluation hook's (``interval``,
``save_best``, ...), all others are the dataset's, in training and in testing alike.
"""

import contextlib
import difflib
import functools
import inspect
import io
from numbers import Number
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import numpy as np

from freekd import tasks
from freekd.config.errors import ConfigError

_MANY = 20000  # images
_GIVEN = ("self", "results", "logger", "dataloader")  # by the caller, not by a config


def hook_arguments() -> Set[str]:
    """The keys of ``evaluation`` that the evaluation hooks of mmcv and of the tasks' hosts take."""
    names: Set[str] = set()
    hosts = [task for task in tasks.every() if task.installed()]
    for hook in (task.eval_hook(distributed) for task in hosts for distributed in (False, True)):
        for base in hook.__mro__:
            names |= set(_named(base.__init__)) if "__init__" in vars(base) else set()
    return names - set(_GIVEN)


def _named(function: Any) -> Dict[str, inspect.Parameter]:
    """The parameters of a function that have a name of their own."""
    parameters = inspect.signature(function).parameters
    various = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: p for name, p in parameters.items() if p.kind not in various}


def evaluate_options(cfg: Any, metrics: Optional[List[str]] = None) -> Dict[str, Any]:
    """The options of ``cfg.evaluation`` that go to ``dataset.evaluate``, as in training.

    Args:
        cfg: An mmcv Config.
        metrics: In place of the config's ``metric``; None keeps that, or the dataset's own.

    Raises:
        ConfigError: ``evaluation`` is no dict.
    """
    evaluation = cfg.get("evaluation") or {}
    if not isinstance(evaluation, dict):
        raise ConfigError(
            f"evaluation: expected a dict, as dict(metric='bbox', interval=1), got {evaluation!r}. "
            "Correct the key."
        )
    of_hooks = hook_arguments()
    options = {key: value for key, value in evaluation.items() if key not in of_hooks}
    return options if metrics is None else {**options, "metric": list(metrics)}


def check(
    dataset: Any, options: Dict[str, Any], model: Any = None, seed: int = 0, key: str = "data.val"
) -> List[str]:
    """Whether an evaluation can be made, before hours of training.

    Args:
        dataset: of the evaluation.
        options: for its ``evaluate``.
        model: that learns, with the training data's ``CLASSES``; None: not compared.
        seed: for the sample that is loaded.
        key: of the dataset.

    Returns:
        Warnings.

    Raises:
        ConfigError: an option or a metric that the dataset does not know; masks of a model without;
            the training data's classes in another order; an image that cannot be loaded as models
            are tested.
    """
    notes = [no_effect(name) for name in check_options(dataset, options)]
    _check_sample(dataset, seed, key)
    ours, theirs = getattr(model, "CLASSES", None), getattr(dataset, "CLASSES", None)
    if ours and theirs and list(ours) != list(theirs):
        text = f"{key}.classes: {', '.join(theirs)}; the model is trained on {', '.join(ours)}"
        if sorted(ours) == sorted(theirs):
            raise ConfigError(
                f"{text}. Expected one order: the outputs would be taken for other classes. Give "
                "both the same classes."
            )
        notes.append(f"{text}: outputs are compared by their number")
    metric = options.get("metric") or ()
    learns = getattr(getattr(model, "architecture", model), "model", model)
    wanted = [metric] if isinstance(metric, str) else list(metric)
    reason = tasks.of_dataset(dataset).why_no_scores(learns, wanted)
    if reason is not None:
        raise ConfigError(f"evaluation.metric: {reason}")
    return notes


def _check_sample(dataset: Any, seed: int, key: str) -> None:
    from freekd.config.explain import building
    from freekd.engine.seeds import temporary_seed

    with building(f"{key}: its first image cannot be loaded"), temporary_seed(seed):
        sample = dataset[0]
    reason = tasks.of_dataset(dataset).why_no_test_sample(sample)
    if reason is not None:
        came = sorted(sample) if isinstance(sample, dict) else type(sample).__name__
        raise ConfigError(
            f"{key}.pipeline: {reason}, got {came}. Take the test pipeline of a stock config."
        )


def named(evaluate_hook: Any, dataset: Any, options: Dict[str, Any]) -> Any:
    """The evaluation hook's ``evaluate``, whose errors name the config key."""

    @functools.wraps(evaluate_hook)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return evaluate_hook(*args, **kwargs)
        except ConfigError:
            raise
        except Exception as error:
            raise _refused(dataset, options, error) from error

    return wrapper


def _refused(dataset: Any, options: Dict[str, Any], error: Exception) -> ConfigError:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return ConfigError(
        f"evaluation: {type(dataset).__name__}.evaluate refuses the options {options} "
        f"({type(error).__name__}{f': {text}' if str(text) else ''}). Correct them, or --eval."
    )


def check_options(dataset: Any, options: Dict[str, Any]) -> List[str]:
    """Whether ``dataset.evaluate`` knows each option, before hours of testing.

    Returns:
        Options that it takes without knowing them, which therefore have no effect.

    Raises:
        ConfigError: for one that it would refuse, with the nearest that it knows.
    """
    ignored: Dict[str, None] = {}
    for _, part in parts(dataset):
        kind = type(part)
        if hasattr(part, "dataset"):  # of cross-validation: it asks the whole set
            part, kind = part.dataset, type(part.dataset)
        takes_any = len(_named(part.evaluate)) < len(inspect.signature(part.evaluate).parameters)
        known = _named(part.evaluate)
        if takes_any:  # it may pass them on
            for base in kind.__mro__:
                known.update(_named(vars(base)["evaluate"]) if "evaluate" in vars(base) else {})
        known = {name: known[name] for name in known if name not in _GIVEN}
        for name in options:
            if takes_any and name not in known and name not in _GIVEN:
                ignored[name] = None
            elif name not in known:
                near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
                raise ConfigError(
                    f"evaluation.{name}: expected an option of {kind.__name__}.evaluate "
                    f"({', '.join(known)}) or of the evaluation hook, got one that neither knows; "
                    f"the nearest is {near[0] if near else 'none'}. Rename or remove it."
                )
    _check_metric(dataset, options)
    return list(ignored)


def no_effect(name: str) -> str:
    """What to say of an option that :func:`check_options` gives back."""
    return f"evaluation.{name} has no effect: the dataset does not know it"


def _check_metric(dataset: Any, options: Dict[str, Any]) -> None:
    """Names of metrics are the dataset's to know, see :meth:`freekd.tasks.Task.why_no_metric`."""
    for _, part in parts(dataset):
        if len(part) > _MANY:  # some read all annotations first
            continue
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            reason = tasks.of_dataset(part).why_no_metric(part, options)
        if reason is not None:
            raise ConfigError(
                f"evaluation.metric: {type(part).__name__} says: {reason}. Correct it, or --eval."
            )


def parts(dataset: Any) -> Iterator[Tuple[str, Any]]:
    """The datasets that are evaluated one by one, each with what its scores' names begin with."""
    if hasattr(dataset, "datasets"):
        separate = getattr(dataset, "separate_eval", True)
        for number, part in enumerate(dataset.datasets):
            yield f"{number}_" if separate else "", part
    else:
        yield "", dataset


def evaluate(dataset: Any, results: List[Any], options: Dict[str, Any]) -> Dict[str, float]:
    """The scores that ``dataset.evaluate`` returns, and no others but :func:`nothing_detected`'s.

    Raises:
        ConfigError: for options that ``evaluate`` refuses, with what it says.
    """
    try:
        found = dataset.evaluate(results, **options)
    except Exception as error:
        raise _refused(dataset, options, error) from error
    numbers = {key: value for key, value in found.items() if isinstance(value, Number)}
    scores = {key: float(value) for key, value in numbers.items()}  # type: ignore[arg-type]
    for key in nothing_detected(dataset, found, options):
        print(f"{key} is 0: nothing was detected at all, and it is left out then")
        scores[key] = 0.0
    return scores


def nothing_detected(dataset: Any, found: Dict[str, Any], options: Dict[str, Any]) -> List[str]:
    """What the host leaves out where there is no detection: it is 0.

    Args:
        dataset: What was evaluated.
        found: What its ``evaluate`` returned.
        options: What that was asked.

    Returns:
        ``bbox_mAP``, ``segm_mAP``, both or none; of a concatenation ``0_bbox_mAP``, ...
    """
    missing: List[str] = []
    for prefix, part in parts(dataset):
        missing += tasks.of_dataset(part).scores_left_out(part, prefix, found, options)
    return missing
