"""Files of the Hugging Face hub: found in its cache or downloaded, with the commit they are of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bottleneck.errors import RuntimeUnavailableError, WeightsError, first_line

SAFE: Final = "model.safetensors"


@dataclass(frozen=True)
class FromHub:
    """What was found.

    Parameters
    ----------
    path : Path
        A file, or a folder of files, in the cache of ``huggingface_hub``.
    repository, commit : str
        Where it is from; 40 hex digits.
    """

    path: Path
    repository: str
    commit: str


def split_revision(name: str) -> tuple[str, str | None]:
    """Split ``owner/name@revision``."""
    repository, _, revision = name.partition("@")
    return repository, revision or None


def hub_file(name: str, files: Sequence[str]) -> FromHub:
    """Find the first of some files that a repository has.

    Parameters
    ----------
    name : str
        ``owner/name``, or ``owner/name@revision``.
    files : sequence of str
        Other names of the same weights.

    Raises
    ------
    WeightsError
        When the hub cannot be asked and the cache has none; says what to put where.
    """
    hub = _imported()
    repository, revision = split_revision(name)
    said: Exception | None = None
    for file in files:
        try:
            found = Path(hub.hf_hub_download(repository, file, revision=revision))
            return FromHub(found, repository, _commit(found))
        except hub.errors.EntryNotFoundError as error:
            if isinstance(error, hub.errors.LocalEntryNotFoundError):
                raise _offline(hub, name, files, error) from error
            said = error
        except Exception as error:
            raise _offline(hub, name, files, error) from error
    raise WeightsError(
        f"{name}: expected {' or '.join(files)} in its repository, which has none",
        hint="Pickled checkpoints are not opened: they may run code. Save its tensors with "
        "safetensors.torch.save_file, and name that file with --weights.",
    ) from said


def hub_folder(name: str, patterns: Sequence[str]) -> FromHub:
    """Find those files of a repository that match some patterns.

    Raises
    ------
    WeightsError
        When the hub cannot be asked and the cache has none; says what to put where.
    """
    hub = _imported()
    repository, revision = split_revision(name)
    try:
        found = Path(
            hub.snapshot_download(repository, revision=revision, allow_patterns=list(patterns))
        )
    except Exception as error:
        raise _offline(hub, name, patterns, error) from error
    return FromHub(found, repository, _commit(found))


def _commit(path: Path) -> str:
    """Read the commit from a path of the cache: ``.../snapshots/COMMIT/...``."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else ""


def _offline(hub: Any, name: str, files: Sequence[str], error: Exception) -> WeightsError:
    repository, revision = split_revision(name)
    said = first_line(error)
    folder = "models--" + repository.replace("/", "--")
    pinned = f" --revision {revision}" if revision else ""
    return WeightsError(
        f"{name}: expected {' '.join(files)} in the cache of the Hugging Face hub "
        f"({hub.constants.HF_HUB_CACHE}), or a network to download it, got: {said}",
        hint=f"Where there is a network: `hf download {repository}{pinned}`; then copy the folder "
        f"{folder} of its cache into this one, or name the file or folder with --weights.",
    )


def _imported() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"expected huggingface_hub, got {error}", hint="`pip install huggingface_hub`"
        ) from error
    return huggingface_hub
