"""Every error this package explains: one message, one hint, and the fitting builtin.

The message says what was expected and what was received; the hint says what to do.
The command line prints both and exits with :attr:`BottleneckError.exit_code`.
"""

from bottleneck.status import RowStatus


class BottleneckError(Exception):
    """Base of all errors the package raises on purpose.

    Parameters
    ----------
    message : str
        What was expected and what was received; names the file, key or row.
    hint : str, optional
        What to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel between worker processes; the keyword-only hint has to travel too.
        return (_rebuild, (type(self), self.message, self.hint), vars(self))


def _rebuild(kind: type[BottleneckError], message: str, hint: str | None) -> BottleneckError:
    return kind(message, hint=hint)


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says; its kind where it says nothing."""
    return (str(error).strip() or repr(error)).splitlines()[0]


class OptionError(BottleneckError, ValueError):
    """An option has a value that cannot be used."""

    exit_code = 2


class ManifestError(BottleneckError, ValueError):
    """A set of images cannot be listed: empty, duplicated keys, missing columns."""


class SourceError(BottleneckError, OSError):
    """A source of images cannot be opened or read."""


class ItemError(BottleneckError, ValueError):
    """One item of a source, an image or a sound, cannot become a network's input.

    Parameters
    ----------
    reason : RowStatus
        The status its row gets.
    message : str
        Free text: what the decoder said.
    """

    def __init__(self, reason: RowStatus, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.reason, self.message))


class ImageError(ItemError):
    """One image cannot become pixels, or a source cannot read one item."""


class SoundError(ItemError):
    """One sound cannot become a spectrogram."""


class BackboneError(BottleneckError, ValueError):
    """A backbone, layer or pooling does not exist or does not fit."""

    exit_code = 2


class WeightsError(BottleneckError, OSError):
    """Weights cannot be found, are damaged, or belong to another backbone."""


class RuntimeUnavailableError(BottleneckError, ImportError):
    """A framework or extra that was asked for is not installed or not usable."""


def not_importable(what: str, extra: str, error: ImportError) -> RuntimeUnavailableError:
    """Say what was to be imported and is not there, and which extra of this package brings it."""
    return RuntimeUnavailableError(
        f"expected {what}, which cannot be imported: {error}",
        hint=f"`pip install 'bottleneck-features[{extra}]'`",
    )


class DeviceMemoryError(BottleneckError, MemoryError):
    """The device has not enough memory for a batch.

    Attributes
    ----------
    images : int
        How many images it was to compute, those included that a batch was padded with; 0 where
        that is not known.
    """

    images = 0


class ExhaustedError(BottleneckError, OSError):
    """The machine is out of memory, open files or room on a disk, whatever the file."""


class WorkerError(BottleneckError, RuntimeError):
    """Worker processes cannot be started, or the decoder in them does not work at all."""


class StoreError(BottleneckError, OSError):
    """A feature file cannot be created, opened, read or written."""


class DamagedStoreError(StoreError):
    """The inside of a feature file does not hold together."""


class StoreLockedError(StoreError, BlockingIOError):
    """Another process is writing the feature file."""


class RecipeMismatchError(BottleneckError, ValueError):
    """Two things were made by different recipes and must not be mixed."""


class HeadError(BottleneckError, ValueError):
    """A head cannot be fitted, saved, loaded or applied."""


class PipelineError(BottleneckError, ValueError):
    """A pipeline file is wrong: an unknown key, a missing step, a bad value."""


class TooManyFailuresError(BottleneckError, RuntimeError):
    """The run finished, but more images failed than ``--max-failed`` allows."""

    exit_code = 3
