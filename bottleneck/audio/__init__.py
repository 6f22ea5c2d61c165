"""From the bytes of a sound file to the spectrogram a backbone hears, or a named refusal."""

from bottleneck.audio.decoder import MAX_SECONDS, Window, decode_all, decoder_name, mono
from bottleneck.audio.mel import Compression, MelSpectrogram, mel_filters

__all__ = [
    "MAX_SECONDS",
    "Compression",
    "MelSpectrogram",
    "Window",
    "decode_all",
    "decoder_name",
    "mel_filters",
    "mono",
]
