"""Loads the NumPy backbone of the fakes wherever ranges of a set are filled."""

from dataclasses import dataclass

from fakes import MeanBackbone, fake_embedder


@dataclass(frozen=True)
class FakeLoad:
    """As :data:`bottleneck.extraction.ranges.LoadEmbedder`; a batch takes its time."""

    seconds_per_batch: float = 0.0

    def __call__(self, info):
        return fake_embedder(MeanBackbone(seconds_per_batch=self.seconds_per_batch)), 10
