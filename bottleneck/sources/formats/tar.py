"""Tar files: WebDataset's shards, or folders of classes that someone packed."""

import json
import posixpath
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bottleneck.errors import ImageError, SourceError
from bottleneck.manifest import Manifest
from bottleneck.packed import PackedBuilder
from bottleneck.sources.base import Listing, Tally
from bottleneck.sources.formats.tar_members import Member, read_members
from bottleneck.sources.layout import AS_FOUND, Choice
from bottleneck.sources.random_access import Window, listing
from bottleneck.sources.rules import (
    IMAGES,
    LABEL_SUFFIXES,
    ItemRules,
    is_hidden,
    label_of,
    suffix,
    unique_members,
)
from bottleneck.sources.shards import Shard, Sharded, archive_manifest, sort_members, sorted_rows
from bottleneck.status import RowStatus

_JSON_LABELS = ("label", "class", "class_name", "cls", "category")
_LONGEST_LABEL = 100

_Label = tuple[str | None, bool]
"""What is said of an image: a label, nothing at all (None), or that it has none (empty).

And whether that comes from a ``.txt``, which may be a caption.
"""


class TarSource(Sharded):
    """Images in tar files, each read where it lies; nothing is unpacked.

    Parameters
    ----------
    name : str
        What was given.
    manifest : Manifest
        The images.
    shards : sequence of Shard
        The files.
    counts : sequence of int
        Images in each.
    offsets, sizes : ndarray of uint64, shape (n,)
        Where each image's bytes are in its file.
    odd : dict of int to str
        Rows that are no plain files, and what they are.
    listing : Listing, optional
        What was left out.
    """

    def __init__(
        self,
        name: str,
        manifest: Manifest,
        shards: Sequence[Shard],
        counts: Sequence[int],
        *,
        offsets: NDArray[np.uint64],
        sizes: NDArray[np.uint64],
        odd: dict[int, str],
        listing: Listing | None = None,
    ) -> None:
        super().__init__(name, manifest, [shard.blob for shard in shards], counts, listing)
        self._blobs = [shard.blob for shard in shards]
        self._offsets = offsets
        self._sizes = sizes
        self._odd = odd

    def read(self, row: int) -> bytes:
        """Return an image's bytes.

        Raises
        ------
        ImageError
            ``MISSING``, ``UNREADABLE`` or ``TRUNCATED``, naming the tar and the offset;
            ``UNSUPPORTED`` for links and sparse files.
        """
        if row in self._odd:
            raise ImageError(RowStatus.UNSUPPORTED, self._odd[row])
        blob = self._blobs[self.locate(row)[0]]
        return blob.read(int(self._offsets[row]), int(self._sizes[row]))


def open_tar(name: str, shards: Sequence[Shard], choice: Choice = AS_FOUND) -> TarSource:
    """List the images of tar files.

    The class of an image is what the member of the same name that ends in ``.cls``, ``.json``
    (its ``label``) or ``.txt`` says, or else the folder it is in. Texts count only where all of
    them are one short line: others are captions.

    Parameters
    ----------
    name : str
        What was given.
    shards : sequence of Shard
        The files in order.
    choice : Choice
        What names the class, whatever lies beside the images.

    Raises
    ------
    SourceError
        When one is compressed, no tar, damaged or breaks off.
    ManifestError
        When there is no image, or a name appears twice.
    """
    index = _MemberIndex(choice.rules)
    counts = []
    for shard in shards:
        before = len(index.names)
        with listing():
            index.add(shard)
        counts.append(len(index.names) - before)
    offsets, sizes = np.frombuffer(index.offsets, "u8"), np.frombuffer(index.sizes, "u8")
    names, order = sort_members(index.names.finish(), counts)
    labels: Iterable[str | None] | None = None
    if index.has_labels:
        codes = np.frombuffer(index.codes, "i4")
        labels = map(index.by_code().__getitem__, codes if order is None else codes[order])
    if order is not None:
        offsets, sizes = offsets[order], sizes[order]
    manifest = archive_manifest(
        name, shards, counts, names, labels, tally=index.tally, choice=choice
    )
    return TarSource(
        name,
        manifest,
        shards,
        counts,
        offsets=offsets,
        sizes=sizes,
        odd=sorted_rows(index.odd, order),
        listing=index.tally.finish(),
    )


@dataclass
class _MemberIndex:
    """Columns that grow by a row per image: some 40 bytes beside the name."""

    rules: ItemRules = IMAGES
    names: PackedBuilder = field(default_factory=PackedBuilder)
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    sizes: "array[int]" = field(default_factory=lambda: array("Q"))
    codes: "array[int]" = field(default_factory=lambda: array("i"))
    labels: dict[tuple[str, bool], int] = field(default_factory=dict)
    odd: dict[int, str] = field(default_factory=dict)
    captions: bool = False
    said: set[bool] = field(default_factory=set)
    """Whether files beside images, and texts among them, say what has a label and what not."""
    no_text: dict[str, str] = field(default_factory=dict)
    """Labels whose bytes are not UTF-8, and where each was found first."""
    tally: Tally = field(default_factory=Tally)

    @property
    def has_labels(self) -> bool:
        return False in self.said or (True in self.said and not self.captions)

    def by_code(self) -> list[str | None]:
        """Return the label of each code, and behind them that of -1: None."""
        for label, from_text in self.labels:
            if from_text and not self.captions and label in self.no_text:
                label_of(label.encode("utf-8", "surrogateescape"), self.no_text[label])  # refuses
        listed = [None if text and self.captions else label for label, text in self.labels]
        return [*listed, None]

    def add(self, shard: Shard) -> None:
        """Index one tar."""
        window = Window(shard.blob)
        links: list[tuple[int, Member]] = []
        orphans: dict[str, _Label] = {}
        first = len(self.names)
        for member, label in self._samples(shard, window, orphans):
            if member.kind == "hard link":
                links.append((len(self.names), member))
            elif member.kind != "file":
                self.odd[len(self.names)] = (
                    f"a {member.kind} at offset {member.offset} of {shard.blob.name}, not a file"
                )
            self.names.append(member.name)
            self.offsets.append(member.offset)
            self.sizes.append(member.size)
            self.codes.append(self._code(label))
        if links or orphans:
            names = {row: self.names[row] for row in range(first, len(self.names))}
            taken = set()
            for row, name in names.items() if orphans else ():
                if self.codes[row] < 0 and (stem := _stem(name)) in orphans:
                    self.codes[row] = self._code(orphans[stem])
                    taken.add(stem)
            if len(taken) < len(orphans):
                self.tally.reasons["label without an image"] += len(orphans) - len(taken)
            self._resolve(links, {name: row for row, name in names.items()}, shard)

    def _resolve(
        self, links: Iterable[tuple[int, Member]], rows: dict[str, int], shard: Shard
    ) -> None:
        """Let hard links read the bytes of what they link to: tar stores a file once."""
        for row, member in links:
            target = rows.get(member.target)
            if target is None or target == row:
                self.odd[row] = (
                    f"a link at offset {member.offset} of {shard.blob.name} to {member.target!r}, "
                    "which is no image in it"
                )
            else:
                self.offsets[row], self.sizes[row] = self.offsets[target], self.sizes[target]

    def _code(self, found: _Label) -> int:
        label, from_text = found
        if label is not None:
            self.said.add(from_text)
        return self.labels.setdefault((label, from_text), len(self.labels)) if label else -1

    def _samples(
        self, shard: Shard, window: Window, orphans: dict[str, _Label]
    ) -> Iterator[tuple[Member, _Label]]:
        """Yield images with the labels of the members beside them.

        WebDataset keeps what belongs together side by side, named up to the first dot alike.
        Labels that lie elsewhere are left in ``orphans``.
        """
        sample = ""
        images: list[Member] = []
        found: dict[str, dict[str, str | None]] = {}
        for member in read_members(shard.blob, window):
            key = _sample(member.name)
            if key != sample:
                yield from self._finish(sample, images, found, orphans)
                sample, images, found = key, [], {}
            if is_hidden(member.name):
                self.tally.leave_out(member.name)
                continue
            if self.rules.is_key(member.name) and member.kind != "folder":
                images.append(member)
                continue
            stem, ending = _stem(member.name), suffix(member.name)
            if ending in LABEL_SUFFIXES and member.kind == "file":
                data = window.read(member.offset, member.size)
                where = f"{shard.blob.name}: {member.name!r} at offset {member.offset}"
                label = _LABEL_IN[ending](data, where)
                if ending == ".txt" and label:
                    self.captions |= "\n" in label or len(label) > _LONGEST_LABEL
                    label = label[: _LONGEST_LABEL + 1]
                    if not _is_text(label):
                        self.no_text.setdefault(label, where)
                found.setdefault(stem, {})[ending] = label
            elif member.kind not in ("folder", "symbolic link"):
                self.tally.leave_out(member.name)
        yield from self._finish(sample, images, found, orphans)

    def _finish(
        self,
        sample: str,
        images: list[Member],
        found: dict[str, dict[str, str | None]],
        orphans: dict[str, _Label],
    ) -> Iterator[tuple[Member, _Label]]:
        if not found:
            yield from ((image, (None, False)) for image in images)
            return
        labels = {stem: _best(texts) for stem, texts in found.items()}
        plain = [image for image in images if posixpath.splitext(image.name)[0] == sample]
        # Beside 7.jpg and 7.cls, a 7.mask.png is something about the image and not another one.
        if plain and len(plain) < len(images):
            self.tally.reasons["image beside a labelled one"] += len(images) - len(plain)
        for image in plain or images:
            yield image, labels.get(_stem(image.name)) or labels.get(sample) or (None, False)
        if not images:
            orphans.update(labels)


def _best(texts: dict[str, str | None]) -> _Label:
    """Return the first label that there is, or else that one says that there is none."""
    said = [(texts[ending], ending == ".txt") for ending in LABEL_SUFFIXES if ending in texts]
    named = next((one for one in said if one[0]), None)
    return named or next((one for one in said if one[0] is not None), (None, False))


def _label_in_cls(data: bytes, where: str) -> str:
    label = label_of(data, where) or ""
    if len(label) > _LONGEST_LABEL or "\n" in label:
        raise SourceError(
            f"{where}: expected the name or number of a class, got {len(data)} bytes of text",
            hint="One line of at most 100 letters is a class; keep other texts in .txt.",
        )
    return label


def _label_in_json(data: bytes, where: str) -> str | None:
    """Return the label in a JSON text: its own value, or the first that one of its names has."""
    try:
        only = partial(unique_members, wanted=_JSON_LABELS)
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=only)
    except ValueError as error:
        raise SourceError(f"{where} is not valid JSON: {error}") from error
    if isinstance(value, dict):
        said = None
        for name in _JSON_LABELS:
            if not said and name in value:
                said = label_of(value[name], where) or ""
        return said
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return None  # boxes or other things in the image
    return label_of(value, where) or ""


def _label_in_text(data: bytes, where: str) -> str:
    """Return a text that may be a class; bytes that are no text stay as they are, for later."""
    return label_of(data.decode("utf-8", "surrogateescape"), where) or ""


_LABEL_IN: dict[str, Callable[[bytes, str], str | None]] = {
    ".cls": _label_in_cls,
    ".json": _label_in_json,
    ".txt": _label_in_text,
}


def _is_text(label: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in label)


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _sample(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"
