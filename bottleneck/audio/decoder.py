"""One sound, from the bytes of its file to the spectrograms of its windows."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bottleneck.audio.containers import ends_early, foreign
from bottleneck.audio.mel import MelSpectrogram
from bottleneck.errors import RuntimeUnavailableError, SoundError
from bottleneck.exhaustion import out_of_memory, raise_if_exhausted
from bottleneck.status import RowStatus

MAX_SECONDS: Final = 7200.0
"""Longer sounds are refused: an old core decodes two hours within the time an item has."""

_BLOCK_VALUES: Final = 1 << 18
"""Decoded at a time, samples of all channels together."""

_NOT_RECOGNISED: Final = 1
"""The code of libsndfile's error for bytes that are no sound it knows."""


@dataclass(frozen=True)
class Window:
    """One of several windows of a sound: the centre of its ``number``-th of ``of`` equal parts.

    A single one is the centre of the sound.

    Parameters
    ----------
    number, of : int
        ``number`` counts from 0.
    """

    number: int = 0
    of: int = 1

    def start(self, length: int, samples: int) -> int:
        """Say where it begins in a sound of a length: 0 where the sound is the shorter one."""
        return max(0, length - samples) * (2 * self.number + 1) // (2 * self.of)


Drawing = tuple[MelSpectrogram, Window]
"""A spectrogram, and of which part of the sound."""


def decode_all(
    data: bytes, drawings: Sequence[Drawing], *, max_seconds: float = MAX_SECONDS
) -> list[NDArray[np.float32]]:
    """Decode a sound file once and compute several spectrograms of it.

    All of the file is decoded, so that damage behind a window is found too. Channels are averaged,
    then resampled. Safe to call from many threads.

    Parameters
    ----------
    data : bytes
        The whole file.
    drawings : sequence of (MelSpectrogram, Window)
        One or more.
    max_seconds : float
        Longer sounds are refused.

    Returns
    -------
    list of ndarray of float32, shape (bands, frames, 1)

    Raises
    ------
    SoundError
        With the reason: ``EMPTY``, ``NOT_A_SOUND``, ``TRUNCATED``, ``TOO_LARGE``,
        ``UNSUPPORTED``, or ``UNREADABLE`` for a complete but damaged file. Nothing else.
    """
    signals = mono(data, sorted({mel.rate for mel, _ in drawings}), max_seconds=max_seconds)
    return [mel.of(_cut(signals[mel.rate], mel.samples, window)) for mel, window in drawings]


def mono(
    data: bytes, rates: Sequence[int], *, max_seconds: float = MAX_SECONDS
) -> dict[int, NDArray[np.float32]]:
    """Decode a sound file to one channel at each of several rates; see :func:`decode_all`."""
    soundfile, soxr = _libraries()
    if not data:
        raise SoundError(RowStatus.EMPTY, "the file is empty")
    stream = io.BytesIO(data)
    container = "sound"
    try:
        with soundfile.SoundFile(stream) as sound:
            container, own, stated = sound.format, sound.samplerate, sound.frames
            _refuse_long(stated / own, max_seconds)
            resamplers = {rate: soxr.ResampleStream(own, rate, 1, "float32") for rate in rates}
            parts: dict[int, list[NDArray[np.float32]]] = {rate: [] for rate in rates}
            frames = 0
            for block in _blocks(sound):
                frames += len(block)
                _refuse_long(frames / own, max_seconds)
                for rate, resampler in resamplers.items():
                    parts[rate].append(resampler.resample_chunk(block))
            for rate, resampler in resamplers.items():
                parts[rate].append(resampler.resample_chunk(np.empty(0, np.float32), last=True))
    except SoundError:
        raise
    except Exception as error:
        # Decoders raise anything on damaged files.
        raise _explained(error, data, container, at_end=stream.tell() >= len(data)) from error
    early = ends_early(data)
    told = f", after {frames} of {stated} samples" if frames < stated else ""
    if early or (told and early is None):
        raise SoundError(RowStatus.TRUNCATED, f"{container}: the file ends early{told}")
    if told:
        raise SoundError(RowStatus.UNREADABLE, f"{container}: the sound breaks off{told}")
    if not frames:
        raise SoundError(RowStatus.EMPTY, f"{container}: there is no sample in it")
    return {rate: _of_length(parts[rate], -(-frames * rate // own)) for rate in rates}


@cache
def decoder_name() -> str:
    """Name what decodes, with versions, for the execution part of a recipe."""
    from importlib.metadata import PackageNotFoundError, version  # a tenth of a worker's start

    try:
        packages = [f"{name} {version(name)}" for name in ("soundfile", "soxr")]
        soundfile, _ = _libraries()
    except (PackageNotFoundError, RuntimeUnavailableError):
        return "soundfile"
    return f"{', '.join(packages)}, libsndfile {soundfile.__libsndfile_version__}"


def _blocks(sound: Any) -> Iterator[NDArray[np.float32]]:
    """Yield the mean of all channels, block by block."""
    count = max(1, _BLOCK_VALUES // sound.channels)
    while len(block := sound.read(count, dtype="float32", always_2d=True)):
        yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)


def _of_length(parts: Sequence[NDArray[np.float32]], length: int) -> NDArray[np.float32]:
    """Join what a resampler gave, whose length may be off by one from the sound's."""
    signal = np.concatenate(parts)[:length]
    return np.pad(signal, (0, length - len(signal)))


def _cut(signal: NDArray[np.float32], samples: int, window: Window) -> NDArray[np.float32]:
    start = window.start(len(signal), samples)
    part = signal[start : start + samples]
    return np.pad(part, (0, samples - len(part)))


def _refuse_long(seconds: float, most: float) -> None:
    if seconds > most:
        raise SoundError(
            RowStatus.TOO_LARGE, f"{seconds:.0f} seconds are more than the {most:.0f} that are read"
        )


def _explained(error: Exception, data: bytes, container: str, *, at_end: bool) -> SoundError:
    raise_if_exhausted(error)
    text = str(getattr(error, "error_string", "") or error) or type(error).__name__
    if out_of_memory(error):
        return SoundError(RowStatus.TOO_LARGE, f"{container}: {text}")
    known = foreign(data)
    if known:
        return SoundError(RowStatus.UNSUPPORTED, f"{known} is not decoded; convert it to FLAC")
    if getattr(error, "code", None) == _NOT_RECOGNISED:
        return SoundError(RowStatus.NOT_A_SOUND, "the file is not one of a sound that is known")
    reason = RowStatus.TRUNCATED if at_end or ends_early(data) else RowStatus.UNREADABLE
    return SoundError(reason, f"{container}: {text.removeprefix('Error : ')}")


@cache
def _libraries() -> tuple[Any, Any]:
    try:
        import soundfile
        import soxr
    except (ImportError, OSError) as error:  # soundfile: OSError without its library
        raise RuntimeUnavailableError(
            f"expected soundfile and soxr, which decode sounds, got {error}",
            hint="`pip install 'bottleneck-features[audio]'`",
        ) from error
    return soundfile, soxr
