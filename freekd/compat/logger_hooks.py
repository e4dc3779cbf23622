"""mmcv's logger hooks with the packages of today."""

import functools
import inspect
from types import SimpleNamespace
from typing import Any


def fix_mlflow_models() -> None:
    """MLflow 3 exports a model by tracing it, for which mmcv's hook gives no example input.

    A run with ``MlflowLoggerHook`` would end in an error after its last iteration. The hook of 2022
    meant a pickled model, which is what MLflow is now told where it can be told.
    """
    from mmcv.runner.hooks import MlflowLoggerHook

    original = MlflowLoggerHook.import_mlflow

    @functools.wraps(original)
    def import_mlflow(self: Any) -> None:
        original(self)
        log_model = self.mlflow_pytorch.log_model
        if "serialization_format" in inspect.signature(log_model).parameters:
            pickled = functools.partial(log_model, serialization_format="pickle")
            self.mlflow_pytorch = SimpleNamespace(log_model=pickled)

    MlflowLoggerHook.import_mlflow = import_mlflow
