"""Read a file with a few bytes changed, many times: it is read, or refused by name.

    python fuzz.py WAY SEED FOLDER COUNT

A process of its own, with a limit on memory and on the time of each reading: what hangs, crashes or
takes the machine's memory is seen by whoever started it. Prints one JSON document.
"""

import json
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

SECONDS = 5
"""One file of a few kilobytes; the slowest takes hundredths."""

MEMORY = 512 << 20
"""On top of what the libraries take; a file of a few kilobytes needs none of it."""

WORDS = [b"dim", b"layer", b"{", b"}", b'"', b": -1", b"99999999999", b"type", b"bottom", b"0.5"]


def mutated(data: bytes, generator: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(generator.randint(1, 6)):
        at = generator.randrange(max(1, len(out)))
        match generator.randrange(6):
            case 0:
                out[at : at + 1] = bytes([generator.randrange(256)])
            case 1:
                out[at : at + 4] = b"\xff\xff\xff\xff"
            case 2:
                del out[at : at + generator.randint(1, 40)]
            case 3:
                out[at:at] = out[at : at + generator.randint(1, 40)]
            case 4:
                out[at : at + 1] = bytes([out[at] ^ 1 << generator.randrange(8)]) if out else b""
            case 5:
                out[at:at] = generator.choice(WORDS)
    return bytes(out[: generator.randrange(len(out) + 1)] if generator.random() < 0.05 else out)


class Hung(BaseException):
    """No error that a reader could catch."""


def hung(*_: object) -> None:
    raise Hung(f"more than {SECONDS} s")


def main(way: str, seed: str, folder: str, count: int) -> None:
    from bottleneck.errors import WeightsError
    from bottleneck.weights import read
    from bottleneck.weights.caffe_net import read_net

    reader = {"read": read, "net": read_net}[way]
    data, ending = Path(seed).read_bytes(), Path(seed).suffix
    path = Path(folder) / f"fuzz{ending}"
    path.write_bytes(data)
    reader(path)  # what is not changed is read
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    signal.signal(signal.SIGALRM, hung)
    generator = random.Random(f"{seed.rpartition('/')[2]} {way}")
    seen = {"read": 0, "refused": 0, "nameless": 0, "slowest": 0.0}
    for number in range(count):
        path.unlink()  # a new file: the old one may still be mapped
        path.write_bytes(mutated(data, generator))
        Path(folder, "number").write_text(str(number))
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            reader(path)
            seen["read"] += 1
        except WeightsError as error:
            # A file of data beside a checkpoint's index has the same name, but for the ending.
            named = str(path.with_suffix("")) in error.message
            seen["refused" if named else "nameless"] += 1
        except BaseException:  # noqa: BLE001  # all of it is what is looked for
            traceback.print_exc()
            sys.exit(f"mutation {number} of {seed}, kept as {path}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        seen["slowest"] = max(seen["slowest"], round(time.monotonic() - start, 3))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
    print(json.dumps({**seen, "grown_mb": grown // 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
