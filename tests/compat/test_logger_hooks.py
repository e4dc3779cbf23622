"""mmcv's MLflow hook with a stand-in for MLflow, of version 3 and of earlier ones."""

import sys
import types
from types import SimpleNamespace

import pytest

from freekd import compat

compat.apply()

from mmcv.runner.hooks import MlflowLoggerHook


@pytest.mark.parametrize("version", [2, 3])
def test_mlflow_stores_the_model_as_the_hook_meant_it(version, monkeypatch):
    told = []

    def log_model_2(pytorch_model, artifact_path=None, pip_requirements=None):
        told.append(artifact_path)

    def log_model_3(
        pytorch_model, artifact_path=None, pip_requirements=None, serialization_format=None
    ):
        if serialization_format != "pickle":  # as MLflow 3 says
            raise ValueError("input_example is required")
        told.append(artifact_path)

    mlflow, pytorch = types.ModuleType("mlflow"), types.ModuleType("mlflow.pytorch")
    mlflow.pytorch, pytorch.log_model = pytorch, log_model_2 if version == 2 else log_model_3
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.pytorch", pytorch)
    MlflowLoggerHook().after_run(SimpleNamespace(model="model"))
    assert told == ["models"]
