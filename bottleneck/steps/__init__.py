"""The steps of the job as typed values: what the command line and pipelines both run."""

from bottleneck.steps.base import Step
from bottleneck.steps.compare import CompareStep
from bottleneck.steps.evaluate import EvaluateStep
from bottleneck.steps.extract import ExtractStep
from bottleneck.steps.predict import PredictStep
from bottleneck.steps.train import TrainStep

STEPS: dict[str, type[Step]] = {
    "extract": ExtractStep,
    "train": TrainStep,
    "evaluate": EvaluateStep,
    "predict": PredictStep,
    "compare": CompareStep,
}
"""The kinds of steps, by the name of their command."""

__all__ = [
    "STEPS",
    "CompareStep",
    "EvaluateStep",
    "ExtractStep",
    "PredictStep",
    "Step",
    "TrainStep",
]
