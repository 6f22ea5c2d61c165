"""The mel spectrogram: equal to librosa's, to the released examples, to sums done by hand."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sounds import chord, written

from bottleneck.audio import MelSpectrogram, Window, decode_all, mel_filters, mono
from bottleneck.errors import OptionError

# Those of MusicTaggerCRNN, and of musicnn.
CRNN = MelSpectrogram(12_000, 349_440, 512, 256, 96, 0.0, 6000.0, exponent=2.0)
SHORT = replace(CRNN, samples=24_000)
LOGARITHM = MelSpectrogram(16_000, 47_616, 512, 256, 96, 0.0, 8000.0, compression="log")


def librosas(mel, samples):
    librosa = pytest.importorskip("librosa", reason="the oracle is not installed")
    power = librosa.feature.melspectrogram(
        y=samples, sr=mel.rate, n_fft=mel.fft, hop_length=mel.hop, n_mels=mel.bands,
        fmin=mel.low, fmax=mel.high, pad_mode="reflect",
    )  # fmt: skip
    power = power**mel.exponent
    if mel.compression == "log":
        return np.log10(10_000 * power + 1)
    return librosa.power_to_db(power, ref=1.0)


@pytest.mark.parametrize("mel", [CRNN, SHORT, LOGARITHM], ids=["crnn", "short", "log"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_librosa(mel, seed):
    samples = chord(seed, mel.seconds, mel.rate)[: mel.samples, 0].astype(np.float32)
    found = mel.of(samples)
    assert found.shape == mel.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, :, 0], librosas(mel, samples), atol=0.01)


# librosa imports modules that Python is about to drop.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("ending", ["mp3", "wav", "ogg", "flac"])
def test_a_file_equals_librosa(tmp_path, ending):
    """Decoding, mixing and resampling too: what people would otherwise write themselves."""
    librosa = pytest.importorskip("librosa", reason="the oracle is not installed")
    path = tmp_path / f"a.{ending}"
    path.write_bytes(written(chord(5, 35.3, 44_100, channels=2), 44_100, ending))
    samples, _ = librosa.load(path, sr=CRNN.rate, mono=True)
    start = (len(samples) - CRNN.samples) // 2
    expected = librosas(CRNN, samples[start : start + CRNN.samples])
    (found,) = decode_all(path.read_bytes(), [(CRNN, Window())])
    np.testing.assert_allclose(found[:, :, 0], expected, atol=0.01)


@pytest.mark.parametrize(
    ("rate", "fft", "bands", "low", "high"),
    [(12_000, 512, 96, 0, 6000), (16_000, 512, 96, 0, 8000), (44_100, 2048, 40, 30, 11_000)],
)
def test_filters_equal_librosas(rate, fft, bands, low, high):
    librosa = pytest.importorskip("librosa", reason="the oracle is not installed")
    expected = librosa.filters.mel(
        sr=rate, n_fft=fft, n_mels=bands, fmin=low, fmax=high, dtype=np.float64
    )
    np.testing.assert_allclose(mel_filters(rate, fft, bands, low, high), expected, atol=1e-12)


def test_silence_is_the_lowest_level_everywhere():
    found = CRNN.of(np.zeros(CRNN.samples))
    assert np.unique(found).tolist() == [-100.0]
    assert np.unique(LOGARITHM.of(np.zeros(LOGARITHM.samples))).tolist() == [0.0]


def test_a_tone_is_loud_in_its_band_alone():
    time = np.arange(SHORT.samples) / SHORT.rate
    found = SHORT.of(np.sin(2 * np.pi * 1000 * time))[:, 20:-20, 0]
    # 1 kHz is 15 mel; the filters' centres lie 97 equal steps apart up to 6 kHz.
    steps = (15 + 27 * np.log(6) / np.log(6.4)) / 97
    assert abs(found.mean(axis=1).argmax() - (15 / steps - 1)) < 1
    assert np.ptp(found.max(axis=0)) < 0.1
    assert found.max() - found.min() <= 80.0001


def test_parameters_travel_in_recipes():
    for mel in (CRNN, LOGARITHM):
        assert MelSpectrogram.from_recipe(json.loads(json.dumps(mel.recipe()))) == mel
    with pytest.raises(OptionError, match="expected the parameters of a mel spectrogram"):
        replace(CRNN, high=6001)
    with pytest.raises(OptionError, match="expected a compression of decibels, log"):
        replace(CRNN, compression="loud")
    with pytest.raises(OptionError, match="expected the parameters"):
        replace(CRNN, samples=200)


def test_windows_are_centres_of_equal_parts():
    signal = np.arange(100_000)
    for length, of, starts in (
        (100, 1, [45]),
        (101, 1, [45]),
        (100, 3, [15, 45, 75]),
        (9, 2, [0, 0]),
    ):
        assert [Window(i, of).start(length, 10) for i in range(of)] == starts
    assert signal[Window(0, 1).start(100_000, 1000) :][:1000].mean() == pytest.approx(49_999.5)


def test_short_sounds_end_in_silence_and_long_ones_give_their_windows():
    rate = SHORT.rate
    short = written(chord(1, 0.5, rate), rate, "flac")
    (found,) = decode_all(short, [(SHORT, Window())])
    samples = mono(short, [rate])[rate]
    assert len(samples) == 6000
    np.testing.assert_array_equal(found, SHORT.of(np.pad(samples, (0, 18_000))))
    long = written(chord(2, 7.0, rate), rate, "flac")
    found = decode_all(long, [(SHORT, Window(i, 3)) for i in range(3)])
    samples = mono(long, [rate])[rate]
    for view, start in zip(found, (10_000, 30_000, 50_000), strict=True):
        np.testing.assert_array_equal(view, SHORT.of(samples[start : start + 24_000]))


def test_the_released_examples_are_of_this_kind():
    """Their songs are not at hand; what the parameters fix can be read off the spectrograms."""
    folder = Path(os.environ.get("BOTTLENECK_ZOO") or Path(__file__).parents[2] / "../shared/zoo")
    if not folder.is_dir():
        pytest.skip("the released examples are not here")
    for name in ("cute", "actionable"):
        golden = np.load(folder / f"bensound-{name}.npy").squeeze()
        assert golden.shape == CRNN.shape[:2]
        assert golden.max() - golden.min() <= 80.001
