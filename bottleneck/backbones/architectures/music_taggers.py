"""Networks that hear: tags of music from mel spectrograms.

MusicTaggerCRNN is that of Choi et al. (2017), "Convolutional recurrent neural networks for music
classification", as Keras 1 released it. The other is the VGG of musicnn (Pons and Serra, 2019),
whose package carries its weights.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from bottleneck.audio import MelSpectrogram

CRNN_INPUT: Final = MelSpectrogram(
    rate=12_000, samples=349_440, fft=512, hop=256, bands=96, low=0.0, high=6000.0, exponent=2.0
)
"""29.12 seconds. The power of the bands is squared once more: so the network was trained."""

VGG_INPUT: Final = MelSpectrogram(
    rate=16_000, samples=47_616, fft=512, hop=256, bands=96, low=0.0, high=8000.0, compression="log"
)
"""3 seconds: 187 frames."""

_PADDING: Final = 37
"""Frames of zeros before and behind: 1440 in all."""

_BLOCKS: Final = ((64, 2), (128, 3), (128, 4), (128, 4))
"""Filters of each convolution, and by how much both sides shrink after it."""

_POOLS: Final = ((4, 1), (1, 4), (2, 2), (2, 2), (4, 4))
"""Of the VGG of musicnn, frames and bands: those of the graph that its weights were trained in and
that lies beside them. The program in that package pools otherwise."""

MSD_TAGS: Final = (
    *("rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s"),
    *("alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists"),
    *("classic rock", "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill"),
    *("instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic"),
    *("experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country"),
    *("easy listening", "sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock"),
    *("60s", "rnb", "indie pop", "sad", "House", "happy"),
)
"""The fifty tags of the Million Song Dataset that are most frequent, in the network's order."""


def music_tagger_crnn(keras: Any, *, tags: bool = True) -> Any:
    """Build MusicTaggerCRNN, channels last.

    Layers have the names of the released files.

    Parameters
    ----------
    keras : module
        The imported Keras.
    tags : bool
        Whether the layer of the fifty tags is there, ``output``.

    Returns
    -------
    keras.Model
        From spectrograms in decibels, (n, 96, 1366, 1), to (n, 50), or to (n, 32).
    """
    layers = keras.layers

    def hard_sigmoid(x: Any) -> Any:
        # That of Keras 1; today's has another slope.
        return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)

    def normalised(x: Any, name: str, axis: int = -1) -> Any:
        return layers.BatchNormalization(axis, epsilon=1e-3, name=name)(x)

    def recurrent(x: Any, name: str, *, sequences: bool) -> Any:
        # Unrolled: fifteen steps need no loop, which some runtimes do not compile.
        return layers.GRU(
            32,
            recurrent_activation=hard_sigmoid,
            # Where they are not filled: the same every time.
            kernel_initializer=keras.initializers.GlorotUniform(seed=0),
            recurrent_initializer=keras.initializers.Orthogonal(seed=0),
            reset_after=False,
            return_sequences=sequences,
            unroll=True,
            name=name,
        )(x)

    spectrogram = layers.Input(CRNN_INPUT.shape, name="spectrogram")
    x = layers.ZeroPadding2D((0, _PADDING), name="padding")(spectrogram)
    x = normalised(x, "bn_0_freq", axis=2)  # over time, whatever its name says
    for i, (filters, shrink) in enumerate(_BLOCKS, start=1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{i}")(x)
        x = layers.ELU(name=f"elu{i}")(normalised(x, f"bn{i}"))
        x = layers.MaxPooling2D(shrink, name=f"pool{i}")(x)
    x = layers.Reshape(x.shape[2:], name="sequence")(x)
    x = recurrent(recurrent(x, "gru1", sequences=True), "gru2", sequences=False)
    if tags:
        x = layers.Dense(len(MSD_TAGS), activation="sigmoid", name="output")(x)
    return keras.Model(spectrogram, x, name="music_tagger_crnn")


def musicnn_vgg(keras: Any, *, tags: bool = True) -> Any:
    """Build the VGG of musicnn.

    Layers that have weights have the names of its checkpoints.

    Parameters
    ----------
    keras : module
        The imported Keras.
    tags : bool
        Whether the layer of the fifty tags is there, ``dense``.

    Returns
    -------
    keras.Model
        From spectrograms in logarithms, (n, 96, 187, 1), to (n, 50), or to the map (n, 2, 1, 128).
    """
    layers = keras.layers

    def normalised(x: Any, number: int) -> Any:
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        return layers.BatchNormalization(epsilon=1e-3, name=name)(x)

    spectrogram = layers.Input(VGG_INPUT.shape, name="spectrogram")
    x = layers.Permute((2, 1, 3), name="time_first")(spectrogram)
    x = normalised(x, 0)
    for i, window in enumerate(_POOLS, start=1):
        x = layers.Conv2D(128, 3, padding="same", activation="relu", name=f"{i}CNN")(x)
        x = layers.MaxPooling2D(window, name=f"pool{i}")(normalised(x, i))
    if tags:
        x = layers.Flatten(name="flat")(x)
        x = layers.Dense(len(MSD_TAGS), activation="sigmoid", name="dense")(x)
    return keras.Model(spectrogram, x, name="musicnn_vgg")


BUILDERS: Final[Mapping[str, Callable[..., Any]]] = {
    "music_tagger_crnn": music_tagger_crnn,
    "musicnn_vgg": musicnn_vgg,
}
"""By the name of the backbone."""


def build(keras: Any, name: str, size: int, *, random: bool) -> Any:
    """Build a headless network by its name; its size is its own, and drawn it is always."""
    return BUILDERS[name](keras, tags=False)
