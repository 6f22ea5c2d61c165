"""Images that crash or hang the decoder, wherever this module is imported.

Worker processes import it when they are handed a :class:`TrapSource`. One of Pillow's decoders is
replaced by one that does what defects of C code do.
"""

import os
import re
import resource
import signal
import time
from pathlib import Path

from PIL import Image

from bottleneck.sources import FileSource

CRASH, HANG, KILL = b"TRAP crash", b"TRAP hang", b"TRAP kill"

Image.init()
_factory, _accept = Image.OPEN["FTEX"]


def _opens(prefix):
    return True if prefix.startswith(b"TRAP") else _accept(prefix)


def _open(stream, name):
    data = stream.read()
    if data == CRASH:
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == KILL:  # as the system does where memory runs out
        os.kill(os.getpid(), signal.SIGKILL)
    if data == HANG:
        re.match("(a+)+$", "a" * 80 + "b")  # holds the interpreter lock for an age of the world
    return _factory(stream, name)


Image.register_open("FTEX", _open, _opens)


class TrapSource(FileSource):
    """A folder, read by processes that have the decoder above; counts what is read in a file."""

    def __init__(self, inner, log=None):
        super().__init__(inner.name, inner.base, inner.manifest)
        self.log = log

    def read(self, row):
        if self.log is not None:
            with Path(self.log).open("ab") as stream:
                stream.write(b"%d\n" % row)
        return super().read(row)


class BrokenSource(TrapSource):
    """Raises what is no fault of an image."""

    def read(self, row):
        if row == 5:
            raise RuntimeError("a defect, not a bad image")
        return super().read(row)


class Unportable(TrapSource):
    """Can be written down but not read again."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ValueError("not here")


class ExhaustingSource(TrapSource):
    """From a row on, the process that reads it has no more of something, by the system's own limit.

    Parameters
    ----------
    limit : str
        Name of a limit of :mod:`resource`.
    left : int
        How much may still be had beyond what is used already.
    """

    def __init__(self, inner, limit, left, *, start=6):
        super().__init__(inner)
        self.limit, self.left, self.start = limit, left, start

    def read(self, row):
        if row >= self.start:
            time.sleep(1)  # what was decoded before is stored meanwhile
            number = getattr(resource, self.limit)
            used = 0
            if self.limit == "RLIMIT_AS":
                used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf(
                    "SC_PAGE_SIZE"
                )
            resource.setrlimit(number, (used + self.left, resource.getrlimit(number)[1]))
        return super().read(row)
