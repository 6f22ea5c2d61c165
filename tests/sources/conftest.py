import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import makers
import pytest
from conformance import spawned
from object_store import s3, s3_endpoint, s3_environment

__all__ = ["s3", "s3_endpoint", "s3_environment"]


@pytest.fixture(scope="session")
def samples():
    return makers.load_samples()


@pytest.fixture(scope="session")
def other_process():
    yield from spawned()


class RangeHandler(SimpleHTTPRequestHandler):
    """The server of the standard library, with ranges, and faults to order."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faults: ClassVar = {}
    ranges = True

    def do_GET(self):
        waiting = self.faults.get(self.path)
        if waiting:
            self.send_error(waiting.pop(0))
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d+)?", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not match or not path.is_file() or not self.ranges:
            super().do_GET()
            return
        data = path.read_bytes()
        start, stop = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Length", str(stop - start + 1))
        self.send_header("Content-Range", f"bytes {start}-{stop}/{len(data)}")
        self.end_headers()
        self.wfile.write(data[start : stop + 1])

    def log_message(self, *_):
        pass


class WebServer:
    def __init__(self, root):
        self.root = root
        self.handler = type("Handler", (RangeHandler,), {"faults": {}})
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(self.handler, directory=str(root))
        )
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def put(self, name, data):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remove(self, name):
        (self.root / name).unlink()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def web(tmp_path):
    root = tmp_path / "served"
    root.mkdir()
    server = WebServer(root)
    yield server
    server.stop()
