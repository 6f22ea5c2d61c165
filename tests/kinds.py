"""Both kinds of items, so that the same tests can walk over them."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fakes import fake_recipe, write_png
from sounds import chord, written

from bottleneck.audio import MelSpectrogram
from bottleneck.extraction import Embedder
from bottleneck.images import Geometry
from bottleneck.items import KINDS, ItemInput
from bottleneck.recipe import Recipe


@dataclass
class PlainBackbone:
    """A "network" over arrays of any shape: mean, spread, largest and a sum that tells places."""

    given: ItemInput
    dims: dict = field(default_factory=lambda: {"avg": 4})
    runtime: str = "numpy"
    version: str = "0"
    device: str = "cpu"
    details: dict = field(default_factory=dict)

    def __call__(self, batch):
        assert batch.dtype == self.given.dtype
        assert batch.shape[1:] == self.given.shape
        return {"avg": features(batch)}


def features(batch):
    flat = batch.reshape(len(batch), -1).astype(np.float64)
    places = np.cos(np.arange(flat.shape[1]))
    found = [flat.mean(1), flat.std(1), flat.max(1), flat @ places / len(places)]
    return np.stack(found, axis=1).astype(np.float32).reshape(len(batch), 4)


@dataclass(frozen=True)
class ItemKind:
    """How to make items of a kind, and what takes them."""

    name: str
    ending: str
    input: Any
    backbone: str

    def data(self, seed):
        if self.name == "sound":
            return written(chord(seed, seconds=0.3, rate=8000), 8000, self.ending)
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3))
        path = Path(f"/tmp/{id(self)}-{seed}.png")
        try:
            return write_png(path, pixels).read_bytes()
        finally:
            path.unlink()

    def write(self, path, seed):
        path = Path(f"{path}.{self.ending}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data(seed))
        return path

    def folder(self, root, count=12, classes=("ant", "bee", "cat")):
        for i in range(count):
            name = classes[i % len(classes)]
            split = "test" if i >= count - len(classes) else "train"
            self.write(root / split / name / f"{i:03d}", i)
        return root

    def embedder(self, network=None, views=1, **execution):
        identity = {
            self.name: self.input.recipe(),
            "views": KINDS[self.name].views_recipe(views),
            "outputs": {"avg": {"layer": None, "pool": "avg"}},
        }
        recipe = fake_recipe(identity, execution)
        recipe = Recipe({**recipe.identity, "backbone": self.backbone}, recipe.execution)
        return Embedder(recipe, self.input, network or PlainBackbone(self.input))

    def expected(self, data, view=0, views=1):
        """Decode by hand."""
        kind = KINDS[self.name]
        from bottleneck.decode import image_digest

        drawn = kind.decode(
            data, [(self.input, kind.view(image_digest(data).tobytes(), view, views))]
        )
        return features(np.stack(drawn))[0]


IMAGE = ItemKind("image", "png", Geometry(16), "mobilenet_v2")
SOUND = ItemKind(
    "sound", "flac", MelSpectrogram(8000, 2400, 256, 128, 12, 0.0, 4000.0), "music_tagger_crnn"
)
BOTH = {kind.name: kind for kind in (IMAGE, SOUND)}


def main():
    """Extract with the plain network, as a process that can be killed."""
    from bottleneck.extraction import Silent, fill_store
    from bottleneck.extraction.plan import MaxFailed
    from bottleneck.sources import open_source
    from bottleneck.store import Writer, writer_lock

    Writer.__init__.__kwdefaults__["commit_seconds"] = 0.0
    name, source, output = sys.argv[1:]
    listed, output = open_source([source]), Path(output)
    print("ready", flush=True)
    with writer_lock(output):
        fill_store(listed, output, BOTH[name].embedder(), batch_size=2, workers=2,
                   max_failed=MaxFailed.parse("10%"), progress=Silent())  # fmt: skip


if __name__ == "__main__":
    main()
