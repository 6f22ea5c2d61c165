"""Sounds to order: chords that differ, in every container that can be written."""

import io
from pathlib import Path

import numpy as np
import soundfile

WRITTEN = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
}


def chord(seed=0, seconds=2.0, rate=22_050, channels=1):
    """A few steady tones, a decaying one and some noise: float64, shape (n, channels)."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    tones = rng.uniform(80, 4000, 5)
    found = [
        sum(np.sin(2 * np.pi * hz * time + rng.uniform(0, 6)) for hz in tones)
        + 3 * np.sin(2 * np.pi * tones[0] / 2 * time) * np.exp(-3 * time)
        + rng.normal(0, 0.1, len(time))
        for _ in range(channels)
    ]
    return np.stack(found, axis=1) / 10


def written(samples, rate=22_050, ending="wav"):
    """The bytes of a sound file."""
    container, subtype = WRITTEN[ending]
    stream = io.BytesIO()
    soundfile.write(stream, samples, 48_000 if subtype == "OPUS" else rate,
                    format=container, subtype=subtype)  # fmt: skip
    return stream.getvalue()


def write_sound(path, seed=0, **about):
    """Write a chord; the container follows the ending."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        written(chord(seed, **about), about.get("rate", 22_050), path.suffix.lstrip("."))
    )
    return path
