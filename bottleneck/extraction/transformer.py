"""Images to features as a scikit-learn transformer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from bottleneck import backbones
from bottleneck.backbones.network import Pool
from bottleneck.cores import available_cores
from bottleneck.errors import ImageError
from bottleneck.extraction.forward import batch_size_for
from bottleneck.extraction.inference import embed
from bottleneck.extraction.plan import Plan
from bottleneck.extraction.run import build_embedder
from bottleneck.frames import numbered
from bottleneck.images import ResizeRule, parse_size
from bottleneck.images.colour import to_eight_bit
from bottleneck.manifest import Manifest
from bottleneck.sources import FileSource, PixelSource, Source

_OF_THIS_PROCESS: Final = ("_embedder", "_end")


class FeatureExtractor(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """Turn images into features of a frozen backbone, in memory.

    For image sets that fit; :func:`bottleneck.extract` writes larger ones to a file. Both
    compute the same features.

    Parameters
    ----------
    backbone : str
        Name in the catalogue.
    weights : str, optional
        ``bundled``, ``imagenet``, ``none`` or a path; the best at hand by default.
    layer : str, optional
        Layer whose map is pooled; the last map by default.
    pool : Pool, optional
        How what it gives becomes a vector.
    size : int or str, optional
        Side of the input in pixels, or ``WxH``; the backbone's own by default.
    resize : {"crop", "squash", "pad"}, optional
        How images are brought to that size; the backbone's own rule by default.
    preprocess : str, optional
        What the network wants of its input, where its file does not say.
    batch_size : int, optional
        Images per forward pass; 32 on a CPU, up to 256 on a GPU.
    workers : int, optional
        Threads that decode; one per CPU core by default.
    device : str, optional
        What computes: ``cpu``, ``gpu`` or ``gpu:N``, as of :func:`bottleneck.extract`; by default
        the first GPU, else the CPU. Another GPU than the first has a process of its own, which
        ends with this object.
    on_error : {"raise", "nan"}
        What to do about an image that cannot be decoded.

    Attributes
    ----------
    recipe_ : Recipe
        Exactly what is computed.
    """

    _end: "finalize[..., Any]"

    def __init__(
        self,
        backbone: str = backbones.DEFAULT,
        *,
        weights: str | None = None,
        layer: str | None = None,
        pool: Pool | None = None,
        size: int | str | None = None,
        resize: ResizeRule | None = None,
        preprocess: str | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        device: str | None = None,
        on_error: Literal["raise", "nan"] = "raise",
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.layer = layer
        self.pool = pool
        self.size = size
        self.resize = resize
        self.preprocess = preprocess
        self.batch_size = batch_size
        self.workers = workers
        self.device = device
        self.on_error = on_error

    def __getstate__(self) -> dict[str, Any]:
        # A compiled network does not travel; it is compiled again where it arrives, by the same
        # device.
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name not in _OF_THIS_PROCESS}

    def fit(self, X: object = None, y: object = None) -> Self:
        """Load and compile the backbone; the images are not looked at."""
        if hasattr(self, "_embedder"):
            self._end()
        self._embedder = build_embedder(
            backbone=self.backbone,
            weights=self.weights,
            layers=[self.layer] if self.layer else (),
            pool=self.pool,
            size=parse_size(self.size),
            resize=self.resize,
            preprocess=self.preprocess,
            devices=() if self.device is None else (self.device,),
        )
        self._end = finalize(self, self._embedder.close)
        self._end.atexit = False  # its process ends with this one, and not with a fork of it
        self.recipe_ = self._embedder.recipe
        return self

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Name the features, as scikit-learn's pipelines and tables do: ``avg_0``, ``avg_1``, ...

        ``set_output(transform="pandas")`` (or ``"polars"``) gives tables of these columns.

        Parameters
        ----------
        input_features : object
            Not used: images have no columns.
        """
        check_is_fitted(self, "recipe_")
        if not hasattr(self, "_embedder"):  # unpickled
            self.fit()
        ((name, dim),) = self._embedder.dims.items()
        return np.array(numbered(name, dim), object)

    def transform(self, X: Sequence[Any]) -> NDArray[np.float32]:
        """Compute features.

        Parameters
        ----------
        X : sequence of str, Path, ndarray or PIL.Image.Image
            Paths of image files, pixels (uint8 or uint16, greyscale, RGB or RGBA), or PIL images
            of any mode, whose colours are taken as those of a file.

        Returns
        -------
        ndarray of float32, shape (n, dim)

        Raises
        ------
        ImageError
            For a bad image, unless ``on_error`` is ``"nan"``.
        """
        if not hasattr(self, "_embedder"):  # nothing is learned, so fitting is a formality
            self.fit()
        source = _as_source(X)
        (dim,) = self._embedder.dims.values()
        plan, workers = Plan(np.zeros(len(X), np.uint8)), self.workers or available_cores()
        size = batch_size_for(self.batch_size, self._embedder.network, self._embedder.input)
        features = np.full((len(X), dim), np.nan, np.float32)
        for batch in embed(
            self._embedder,
            source,
            plan.batches(size, workers),
            workers=workers,
        ):
            (features[batch.rows],) = batch.features.values()
            if batch.failures and self.on_error == "raise":
                failure = batch.failures[0]
                raise ImageError(
                    failure.status, f"{_name(X[failure.row], failure.row)}: {failure.message}"
                )
        return features


def _as_source(images: Sequence[Any]) -> Source:
    if all(isinstance(image, str | Path) for image in images):
        # Rows are numbered, not named: the same file may be given twice.
        return _Paths([Path(image) for image in images])
    return PixelSource([_pixels(image) for image in images])


def _pixels(image: Any) -> Any:
    """Return a PIL image's colours, whatever its mode; anything else as it is."""
    return np.asarray(to_eight_bit(image)) if isinstance(image, Image.Image) else image


def _name(image: Any, row: int) -> str:
    return str(image) if isinstance(image, str | Path) else f"image {row}"


class _Paths(FileSource):
    """Files by position."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__("files", Path(), Manifest.build([str(i) for i in range(len(paths))]))
        self._paths = paths

    def path(self, row: int) -> Path:
        return self._paths[row]
