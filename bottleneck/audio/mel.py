"""A mel spectrogram, as a network of sound takes it: its parameters as data, and the arithmetic.

In NumPy, so that features need no library of audio research. It gives what librosa gives for the
same parameters, which a test asks.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Final, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import OptionError

RULES_VERSION: Final = 1
"""Raised by one whenever the same bytes and parameters begin to give other numbers."""

Compression = Literal["decibels", "log"]

_LINEAR_HZ: Final = 200 / 3
"""Slaney's mel scale (Auditory Toolbox, 1998): so many hertz a mel below 1 kHz."""

_BREAK_HZ: Final = 1000.0
_LOG_STEP: Final = math.log(6.4) / 27
"""Above: 27 mels from 1 to 6.4 kHz, in equal steps of the logarithm."""

_LEAST_POWER: Final = 1e-10
_RANGE_DECIBELS: Final = 80.0


@dataclass(frozen=True)
class MelSpectrogram:
    """What every sound becomes: the mel spectrogram of a window of fixed length.

    Parameters
    ----------
    rate : int
        Samples per second the sound is resampled to.
    samples : int
        Length of the window. Longer sounds give their centre, or several windows; shorter ones
        end in zeros.
    fft, hop : int
        Length of a frame of the Fourier transform (a periodic Hann window), and from one to the
        next; samples. Frames are centred, with the signal mirrored at its ends.
    bands : int
        Triangular filters on Slaney's mel scale, each of area one.
    low, high : float
        Where the first filter begins and the last ends, Hz.
    exponent : float
        The power of the bands is raised to it.
    compression : {"decibels", "log"}
        ``decibels``: ``10 log10(max(1e-10, x))``, no less than the largest value minus 80.
        ``log``: ``log10(10000 x + 1)``.

    Raises
    ------
    OptionError
        For numbers that make no spectrogram.
    """

    rate: int
    samples: int
    fft: int
    hop: int
    bands: int
    low: float
    high: float
    exponent: float = 1.0
    compression: Compression = "decibels"

    item: ClassVar[Literal["sound"]] = "sound"
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)

    def __post_init__(self) -> None:
        whole = (self.rate, self.samples, self.fft, self.hop, self.bands)
        # A signal that is mirrored has to be longer than the mirror.
        sound = min(whole) >= 1 and self.samples > self.fft // 2
        if not sound or not 0 <= self.low < self.high <= self.rate / 2:
            raise OptionError(f"expected the parameters of a mel spectrogram, got {self}")
        if self.compression not in get_args(Compression):
            raise OptionError(
                f"expected a compression of {', '.join(get_args(Compression))}, got "
                f"{self.compression!r}"
            )

    @property
    def frames(self) -> int:
        """Frames of the window."""
        return 1 + self.samples // self.hop

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result: bands, frames, 1."""
        return self.bands, self.frames, 1

    @property
    def seconds(self) -> float:
        """Length of the window in seconds."""
        return self.samples / self.rate

    def recipe(self) -> dict[str, Any]:
        """Describe, as JSON values, everything that decides the numbers (a recipe's identity)."""
        return {
            "version": RULES_VERSION,
            **asdict(self),
            "channels": "mean",
            "window": "periodic Hann",
            "filters": "Slaney, area one",
            "edges": "mirrored",
            "short": "zeros at the end",
            "long": "centres of equal parts, one per view",
        }

    @classmethod
    def from_recipe(cls, sound: Mapping[str, Any]) -> Self:
        """Read what :meth:`recipe` wrote."""
        return cls(**{field.name: sound[field.name] for field in fields(cls)})

    def of(self, samples: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Compute the spectrogram of a window.

        Parameters
        ----------
        samples : ndarray of float, shape (self.samples,)
            One channel, at ``rate``.

        Returns
        -------
        ndarray of float32, shape (bands, frames, 1)
        """
        half = self.fft // 2
        padded = np.pad(samples.astype(np.float64, copy=False), half, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.fft)[:: self.hop]
        spectrum = np.fft.rfft(frames * _hann(self.fft), axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        filters = mel_filters(self.rate, self.fft, self.bands, self.low, self.high)
        bands: NDArray[np.float64] = filters @ power.T
        bands **= self.exponent
        return self._compressed(bands).astype(np.float32)[:, :, None]

    def _compressed(self, bands: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.compression == "log":
            return np.log10(10_000 * bands + 1)
        decibels = 10 * np.log10(np.maximum(_LEAST_POWER, bands))
        floored: NDArray[np.float64] = np.maximum(decibels, decibels.max() - _RANGE_DECIBELS)
        return floored


@cache
def mel_filters(rate: int, fft: int, bands: int, low: float, high: float) -> NDArray[np.float64]:
    """Make the triangular filters of a mel spectrogram.

    Parameters
    ----------
    rate, fft, bands, low, high
        See :class:`MelSpectrogram`.

    Returns
    -------
    ndarray of float64, shape (bands, fft // 2 + 1)
        Each has the area one over hertz.
    """
    centres = _hertz(np.linspace(_mel(low), _mel(high), bands + 2))
    bins = np.arange(fft // 2 + 1) * (rate / fft)
    rising = (bins - centres[:-2, None]) / (centres[1:-1] - centres[:-2])[:, None]
    falling = (centres[2:, None] - bins) / (centres[2:] - centres[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    filters: NDArray[np.float64] = triangles * (2 / (centres[2:] - centres[:-2]))[:, None]
    filters.flags.writeable = False
    return filters


@cache
def _hann(length: int) -> NDArray[np.float64]:
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    window.flags.writeable = False
    return window


def _mel(hertz: float) -> float:
    if hertz < _BREAK_HZ:
        return hertz / _LINEAR_HZ
    return _BREAK_HZ / _LINEAR_HZ + math.log(hertz / _BREAK_HZ) / _LOG_STEP


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    above = mels - _BREAK_HZ / _LINEAR_HZ
    return np.where(
        above < 0, mels * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * np.maximum(above, 0))
    )
