"""Compile and drive ``shim.c``: a plan of what goes wrong, and the log of what was called."""

import ctypes
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


class Op(IntEnum):
    """What a call did; the same numbers are in ``shim.c``."""

    NOTE = 0
    WRITE = 1
    TRUNCATE = 2
    ALLOCATE = 3
    SYNC = 4
    OPEN = 5
    LINK = 6
    RENAME = 7
    UNLINK = 8


class Kind(IntFlag):
    """Classes of calls that can be made to fail together."""

    WRITE = 1
    SYNC = 2
    NAME = 4
    REMOVE = 8


KINDS = {
    Op.WRITE: Kind.WRITE,
    Op.TRUNCATE: Kind.WRITE,
    Op.ALLOCATE: Kind.WRITE,
    Op.SYNC: Kind.SYNC,
    Op.OPEN: Kind.NAME,
    Op.LINK: Kind.NAME,
    Op.RENAME: Kind.NAME,
    Op.UNLINK: Kind.REMOVE,
}

CREATED, TRUNCATED, FOLDER = 1, 2, 4


@dataclass(frozen=True)
class Plan:
    """What goes wrong in one process. Calls are counted from 1; 0 stands for never.

    Parameters
    ----------
    kill_at : int
        SIGKILL before this call.
    fail_at : int
        This call returns ``errno``, if it is of one of ``kinds``.
    errno : int
        The error to give.
    kinds : int
        Which :class:`Kind` of calls fail.
    fail_on : bool
        Also all calls after ``fail_at`` fail.
    short_from : int
        From this call on writes take only half of what they are given.
    """

    kill_at: int = 0
    fail_at: int = 0
    errno: int = 0
    kinds: int = Kind.WRITE | Kind.SYNC | Kind.NAME | Kind.REMOVE
    fail_on: bool = False
    short_from: int = 0


@dataclass(frozen=True)
class Call:
    """One logged call, or a note of the process (``op`` is ``NOTE``, its text in ``data``)."""

    op: Op
    flags: int
    inode: int
    path: str
    other: str
    offset: int
    data: bytes
    result: int


def unavailable() -> str | None:
    """Say why the shim cannot be used here, None if it can."""
    if not sys.platform.startswith("linux"):
        return "the fault shim needs Linux (LD_PRELOAD)"
    if shutil.which("cc") is None:
        return "no C compiler (cc) to build the fault shim with"
    return None


def build(folder: Path) -> Path:
    """Compile the shim into a folder."""
    library = folder / "libfaults.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library)]
    subprocess.run([*command, str(SOURCE), "-ldl", "-lpthread"], check=True)
    return library


class Armed:
    """The preloaded shim, seen from inside the process that it watches."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.fault_calls.restype = ctypes.c_long

    def arm(self, root: Path, log: Path | None, *, log_data: bool, plan: Plan) -> None:
        """Watch a folder from now on."""
        self._library.fault_arm(
            str(root).encode(),
            str(log or "").encode(),
            ctypes.c_int(log_data),
            ctypes.c_long(plan.kill_at),
            ctypes.c_long(plan.fail_at),
            ctypes.c_int(plan.errno),
            ctypes.c_int(plan.kinds),
            ctypes.c_int(plan.fail_on),
            ctypes.c_long(plan.short_from),
        )

    def note(self, data: bytes) -> None:
        """Put into the log what the process has told the world."""
        self._library.fault_note(data, ctypes.c_size_t(len(data)))

    def calls(self) -> int:
        """Return how many calls were counted so far."""
        return int(self._library.fault_calls())


_HEAD = struct.Struct("=6I3q")
_MAGIC = 0x66617431


def read_log(path: Path) -> list[Call]:
    """Read the calls of one or more processes, in the order they were made."""
    if not path.exists():
        return []
    content = path.read_bytes()
    calls, at = [], 0
    while at < len(content):
        magic, op, flags, path_bytes, other_bytes, data_bytes, inode, offset, result = (
            _HEAD.unpack_from(content, at)
        )
        assert magic == _MAGIC, f"the log is broken at byte {at}"
        at += _HEAD.size
        parts = []
        for size in (path_bytes, other_bytes, data_bytes):
            parts.append(content[at : at + size])
            at += size
        calls.append(
            Call(
                Op(op), flags, inode, parts[0].decode(), parts[1].decode(), offset, parts[2], result
            )
        )
    return calls
