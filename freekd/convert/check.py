"""Does a student file fit its stock model? Builds the model and compares every name and shape."""

from typing import Any, List, Mapping, Sequence

from freekd.convert.output import ConversionError


def student_config(reference: str, key: str = "--check") -> Any:
    """The model config that ``reference`` names.

    Args:
        reference: a config with a ``model``, by path or as ``mmdet::...``; or a
            distillation's config, whose student is taken.
        key: of the command line, for errors.

    Raises:
        ConversionError: a config without either, or of stage 1.
        ValueError, FileNotFoundError: no such config, the nearest names are given; or one that
            cannot be read.
    """
    from freekd import compat

    compat.apply()
    import freekd.models  # noqa: F401  (registers the algorithms)
    from freekd.config.explain import building
    from freekd.config.load import load_config
    from freekd.zoo.stock import is_stock, read_model

    if is_stock(reference):
        return read_model(reference, key)
    cfg = load_config(reference)
    algorithm = cfg.get("algorithm")
    if algorithm is None:
        with building(key):
            return read_model(reference, key)
    with building(f"{key} {reference}: algorithm"):
        architecture = algorithm.get("architecture") or {}
        model = architecture.get("model")
    if algorithm.get("distiller") is None or model is None:
        raise ConversionError(
            f"{key} {reference}: expected the config of a distillation or of the student's stock "
            f"model, found algorithm.type={algorithm.get('type')!r}, which has no student. Give "
            "the student's config."
        )
    with building(key):
        return read_model(model, f"{key}: algorithm.architecture.model")


def built_model(reference: str, key: str = "--check") -> Any:
    """The model of :func:`student_config`, with its first weights.

    Raises:
        ConfigError: it cannot be built; and what :func:`student_config` raises.
    """
    cfg = student_config(reference, key)
    from mmrazor.models.builder import MODELS

    from freekd.config.explain import building
    from freekd.distill.weights import without_pretrained

    with building(f"{key} {reference}: the model cannot be built"):
        return MODELS.build(without_pretrained(cfg))


def check_student(
    state: Mapping[str, Any], reference: str, source: str, key: str = "--check"
) -> None:
    """Check that the model of ``reference`` takes ``state`` strictly: no name missing or left over.

    Args:
        state: the student's weights.
        reference: see :func:`student_config`.
        source: the checkpoint's name, for errors.
        key: of the command line that named the config, for errors.

    Raises:
        ConversionError: names or shapes differ; some of each are named.
        ConfigError: the model cannot be built.
    """
    model = built_model(reference, key)
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)}, the model has {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if missing or unexpected or shapes:
        parts = [
            _some(what, names)
            for what, names in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of another shape", shapes),
            )
            if names
        ]
        raise ConversionError(
            f"the student in {source} does not fit the {type(model).__name__} of {key} "
            f"{reference} ({len(own)} tensors): {'; '.join(parts)}. Nothing was written. Give the "
            "config that the student was trained with (the distillation's own config works, too)."
        )
    model.load_state_dict(state, strict=True)


def _some(what: str, names: Sequence[str], count: int = 4) -> str:
    shown: List[str] = list(names[:count])
    return f"{len(names)} {what}: {', '.join(shown)}" + (", ..." if len(names) > count else "")
