"""Work-arounds for the 2022-era packages on today's torch, each with the fault it is for."""

from .devices import hide_gpus_if_asked, plain_batch_norm, usable_optimizer
from .imports import quiet_imports
from .parallel import cpu_data_parallel
from .precision import (
    autocast_of,
    precision_of,
    run_ops_in_float32,
    to_float32,
    unwrap_low_precision,
    use_low_precision,
    wrap_low_precision,
)
from .runner import iterations_done, rename_weights, shorten_epoch_pause
from .stack import apply, apply_in_worker

__all__ = [
    "apply",
    "apply_in_worker",
    "autocast_of",
    "precision_of",
    "cpu_data_parallel",
    "hide_gpus_if_asked",
    "iterations_done",
    "plain_batch_norm",
    "quiet_imports",
    "rename_weights",
    "run_ops_in_float32",
    "shorten_epoch_pause",
    "to_float32",
    "unwrap_low_precision",
    "use_low_precision",
    "usable_optimizer",
    "wrap_low_precision",
]
