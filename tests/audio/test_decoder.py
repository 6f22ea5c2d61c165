"""Sound files of every container: sound, cut short, damaged, empty, foreign."""

import io

import numpy as np
import pytest
import soundfile
from sounds import WRITTEN, chord, written

from bottleneck.audio import MAX_SECONDS, decoder_name, mono
from bottleneck.errors import SoundError
from bottleneck.sources.rules import IMAGES, SOUNDS
from bottleneck.status import RowStatus

LOSSLESS = ("wav", "flac", "aiff", "au", "w64", "rf64")


def refused(data, **options):
    with pytest.raises(SoundError) as caught:
        mono(data, [12_000], **options)
    return caught.value


@pytest.mark.parametrize("ending", WRITTEN)
def test_every_container_gives_the_same_sound(ending):
    samples = chord(3, 2.0, 48_000, channels=2)
    found = mono(written(samples, 48_000, ending), [12_000, 48_000])
    assert {rate: len(signal) for rate, signal in found.items()} == {12_000: 24_000, 48_000: 96_000}
    expected = samples.mean(axis=1)
    if ending in LOSSLESS:
        np.testing.assert_allclose(found[48_000], expected, atol=1e-4)
    else:
        assert np.corrcoef(found[48_000], expected)[0, 1] > 0.97
    # Resampled by a quarter: a low tone keeps its place.
    spectrum = np.abs(np.fft.rfft(found[12_000]))
    assert spectrum.argmax() == np.abs(np.fft.rfft(expected))[: len(spectrum)].argmax()


@pytest.mark.parametrize("ending", WRITTEN)
@pytest.mark.parametrize("share", [0.97, 0.5, 0.1])
def test_a_file_that_ends_early_is_told(ending, share):
    data = written(chord(4, 4.0, 48_000), 48_000, ending)
    error = refused(data[: int(len(data) * share)])
    assert error.reason is RowStatus.TRUNCATED, error.message


@pytest.mark.parametrize("ending", ["flac", "mp3", "opus"])
def test_damage_in_the_middle_is_told_where_the_format_can_tell(ending):
    data = bytearray(written(chord(4, 4.0, 48_000), 48_000, ending))
    middle = len(data) // 2
    data[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    assert refused(bytes(data)).reason is RowStatus.UNREADABLE


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (b"", "EMPTY", "the file is empty"),
        (b"<html>no such song</html>" * 40, "NOT_A_SOUND", "not one of a sound"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + b"\0" * 999, "NOT_A_SOUND", "not one of a sound"),
        (b"\x00\x00\x00\x20ftypM4A " + b"\0" * 999, "UNSUPPORTED", "MP4 .AAC, ALAC. is not"),
        (b"\x1aE\xdf\xa3" + b"\0" * 999, "UNSUPPORTED", "Matroska"),
        (written(np.zeros((0, 1))), "EMPTY", "no sample"),
        (b"RIFF", "NOT_A_SOUND", "not one of a sound"),
    ],
    ids=["nothing", "html", "jpeg", "m4a", "webm", "no samples", "stump"],
)  # fmt: skip
def test_what_is_no_sound_says_why(data, reason, message):
    with pytest.raises(SoundError, match=message) as caught:
        mono(data, [12_000])
    assert caught.value.reason is RowStatus[reason], caught.value.message


def test_sounds_longer_than_allowed_are_refused():
    data = written(chord(0, 3.0, 8000), 8000, "wav")
    assert refused(data, max_seconds=2.9).reason is RowStatus.TOO_LARGE
    assert len(mono(data, [8000], max_seconds=3.0)[8000]) == 24_000
    assert MAX_SECONDS == 7200


def test_a_file_written_to_a_pipe_says_no_length_and_is_taken():
    data = bytearray(written(chord(0, 1.0, 8000), 8000, "wav"))
    at = data.find(b"data") + 4
    data[at : at + 4] = data[4:8] = b"\xff\xff\xff\xff"
    assert len(mono(bytes(data), [8000])[8000]) >= 8000


def test_odd_rates_and_channels():
    stream = io.BytesIO()
    soundfile.write(stream, chord(0, 0.5, 11_025, channels=6), 11_025, format="WAV")
    assert len(mono(stream.getvalue(), [12_000])[12_000]) == -(-5512 * 12_000 // 11_025)


def test_first_bytes_tell_a_sound():
    for ending in WRITTEN:
        assert SOUNDS.begins(written(chord(0, 0.2, 48_000), 48_000, ending)[:64]), ending
    assert SOUNDS.begins(b"\0\0\0\x20ftypM4A ")
    assert not SOUNDS.begins(b"\x89PNG\r\n\x1a\n")
    assert not SOUNDS.begins(b"RIFF\0\0\0\0WEBP")
    assert IMAGES.begins(b"RIFF\0\0\0\0WEBP")
    assert not IMAGES.begins(written(chord(0, 0.2))[:64])
    assert not IMAGES.begins(b"\0\0\0\x20ftypM4A ")


def test_the_decoder_names_itself_with_versions():
    assert soundfile.__version__ in decoder_name()
    assert soundfile.__libsndfile_version__ in decoder_name()
