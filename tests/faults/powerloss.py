"""Loss of power, replayed from a log of calls.

The model is the page cache of POSIX at its worst. A successful sync makes a file's pages and
size durable, and a folder's names. Everything else survives or not by chance: each page or
sector for itself and in any of the states it had since the last sync, so in any order; the size
of a file; each name that was given or removed. A failed sync leaves each page durable or not by
chance and takes all of them for clean, as kernels do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from faults.shim import CREATED, FOLDER, TRUNCATED, Call, Op

PAGE = 4096
SECTOR = 512

DATA_FATES = ("nothing", "everything", "pages", "sectors", "torn")
NAME_FATES = ("nothing", "everything", "in order", "any")


@dataclass
class Inode:
    """One file: what the disk has, what the cache has, and what each dirty page has been."""

    disk: bytearray = field(default_factory=bytearray)
    cache: bytearray = field(default_factory=bytearray)
    dirty: dict[int, list[bytes]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        """Change the cache."""
        if not data:
            return
        self.resize(max(len(self.cache), offset + len(data)))
        self.cache[offset : offset + len(data)] = data
        self._touch(offset, offset + len(data))

    def resize(self, size: int) -> None:
        """Cut the file off, or make it longer with zeros."""
        before = len(self.cache)
        if size == before:
            return
        if size < before:
            self.cache[size:] = b""
            self._touch(size, before)
        else:
            self.cache.extend(bytes(size - before))
        self.sizes.append(size)

    def _touch(self, start: int, stop: int) -> None:
        for page in range(start // PAGE, -(-stop // PAGE)):
            self.dirty.setdefault(page, []).append(_page(self.cache, page))

    def sync(self) -> None:
        """Make everything durable."""
        for page in self.dirty:
            _put(self.disk, page, _page(self.cache, page))
        _set_size(self.disk, len(self.cache))
        self.dirty.clear()
        self.sizes.clear()

    def fail_to_sync(self, chance: Random) -> None:
        """Keep some pages; the others are clean from now on, and not on the disk."""
        for page in self.dirty:
            if chance.random() < 0.5:
                _put(self.disk, page, _page(self.cache, page))
        self.dirty.clear()

    def survivor(self, chance: Random, fate: str) -> bytes:
        """Return what is found after the power comes back."""
        content = bytearray(self.disk)
        size = len(self.disk)
        if fate == "everything":
            size = len(self.cache)
        elif fate != "nothing":
            size = chance.choice([size, *self.sizes])
        for page, states in self.dirty.items():
            if fate == "nothing":
                continue
            _put(content, page, _pick([_page(self.disk, page), *states], chance, fate))
        _set_size(content, size)
        return bytes(content)


def _pick(states: list[bytes], chance: Random, fate: str) -> bytes:
    if fate == "everything":
        return states[-1]
    if fate == "pages":
        return _one_of(states, chance)
    if fate == "sectors":
        starts = range(0, PAGE, SECTOR)
        return b"".join(_one_of(states, chance)[at : at + SECTOR] for at in starts)
    older = chance.randrange(len(states) - 1)
    cut = chance.randrange(PAGE)
    return states[older + 1][:cut] + states[older][cut:]


def _one_of(states: list[bytes], chance: Random) -> bytes:
    """Choose the durable state, the last one, or any of them, a third each."""
    return chance.choice([states[0], states[-1], chance.choice(states)])


def _page(content: bytearray, page: int) -> bytes:
    return bytes(content[page * PAGE : (page + 1) * PAGE]).ljust(PAGE, b"\0")


def _put(content: bytearray, page: int, data: bytes) -> None:
    end = (page + 1) * PAGE
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[page * PAGE : end] = data


def _set_size(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


class Disk:
    """A folder on a disk that may lose its power.

    Parameters
    ----------
    folder : Path
        As it is before the logged calls; all of it is durable.
    inodes : mapping of str to int
        Number of each file in the log.
    """

    def __init__(self, folder: Path, inodes: Mapping[str, int]) -> None:
        self._inodes: dict[int, Inode] = {}
        self._names: dict[str, Inode] = {}
        self._renamings: list[dict[str, Inode | None]] = []
        for path in folder.iterdir():
            content = path.read_bytes()
            inode = Inode(bytearray(content), bytearray(content))
            self._inodes[inodes[path.name]] = self._names[path.name] = inode

    def replay(self, calls: Iterable[Call], chance: Random) -> None:
        """Do again what was logged."""
        for call in calls:
            if call.op == Op.NOTE:
                continue
            if call.op == Op.SYNC:
                self._sync(call, chance)
            elif call.result >= 0:
                self._do(call)

    def _sync(self, call: Call, chance: Random) -> None:
        failed = call.result < 0
        if call.flags & FOLDER:
            for renaming in self._renamings:
                if not failed or chance.random() < 0.5:
                    _rename(self._names, renaming)
            self._renamings.clear()
        elif failed:
            self._inodes[call.inode].fail_to_sync(chance)
        else:
            self._inodes[call.inode].sync()

    def _do(self, call: Call) -> None:
        name, other = Path(call.path).name, Path(call.other).name
        if call.op == Op.OPEN and call.flags & CREATED:
            self._inodes[call.inode] = Inode()
            self._renamings.append({name: self._inodes[call.inode]})
        elif call.op == Op.OPEN:
            if call.flags & TRUNCATED:
                self._inodes[call.inode].resize(0)
        elif call.op == Op.WRITE:
            self._inodes[call.inode].write(call.offset, call.data)
        elif call.op == Op.TRUNCATE:
            self._inodes[call.inode].resize(call.offset)
        elif call.op == Op.ALLOCATE:
            inode = self._inodes[call.inode]
            inode.resize(max(len(inode.cache), call.offset))
        elif call.op == Op.LINK:
            self._renamings.append({other: self._inodes[call.inode]})
        elif call.op == Op.RENAME:
            self._renamings.append({name: None, other: self._inodes[call.inode]})
        elif call.op == Op.UNLINK:
            self._renamings.append({name: None})

    def lose_power(self, folder: Path, chance: Random) -> tuple[str, str]:
        """Write what survives into a new folder; return the fates of data and names."""
        data_fate, name_fate = chance.choice(DATA_FATES), chance.choice(NAME_FATES)
        names = dict(self._names)
        kept = self._renamings
        if name_fate == "nothing":
            kept = []
        elif name_fate == "in order":
            kept = kept[: chance.randrange(len(kept) + 1)]
        elif name_fate == "any":
            kept = [renaming for renaming in kept if chance.random() < 0.5]
        for renaming in kept:
            _rename(names, renaming)
        folder.mkdir()
        written: dict[int, bytes] = {}
        for name, inode in names.items():
            if id(inode) not in written:
                written[id(inode)] = inode.survivor(chance, data_fate)
            (folder / name).write_bytes(written[id(inode)])
        return data_fate, name_fate


def _rename(names: dict[str, Inode], renaming: dict[str, Inode | None]) -> None:
    for name, inode in renaming.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode
