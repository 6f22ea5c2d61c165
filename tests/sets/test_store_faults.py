"""An object store that fails: 500s, time-outs, cut connections, answers that are lost.

A proxy stands between the workers and moto, and does to requests what it is told. Whatever it does,
an object is made once, by one winner, and whoever won knows it.
"""

import contextlib
import http.client
import random
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from bottleneck.errors import StoreError
from bottleneck.sets import place
from bottleneck.sets.place import ObjectPlace
from bottleneck.sources import remote

KINDS = ("error", "busy", "cut before", "cut after", "slow")
"""500, 503; the connection cut before the store hears of it, or after it did; no answer in time."""

TIMEOUT = 0.4


class Proxy:
    """Hands requests on, and spoils some that write.

    Parameters
    ----------
    endpoint : str
        The store.
    """

    def __init__(self, endpoint):
        self.host = endpoint.removeprefix("http://")
        self.share = 0.0
        self.kinds = KINDS
        self.only = lambda method, path: method in {"PUT", "POST"}
        self.spoilt = Counter()
        self.draw = random.Random(1)
        self.one_at_a_time = threading.Lock()
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_any(self):
                body = self.read_body()
                kind = proxy.fault(self.command, self.path)
                if kind in {"error", "busy"}:
                    self.send_response(500 if kind == "error" else 503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if kind == "cut before":
                    self.close_connection = True
                    self.connection.close()
                    return
                upstream = http.client.HTTPConnection(proxy.host, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
                # S3 looks and writes in one step; moto in two, between which another may write.
                conditional = self.headers.get("If-None-Match") is not None
                with proxy.one_at_a_time if conditional else contextlib.nullcontext():
                    upstream.request(self.command, self.path, body, headers)
                    answer = upstream.getresponse()
                    data = answer.read()
                upstream.close()
                if kind == "slow":
                    time.sleep(2 * TIMEOUT)
                if kind in {"cut after", "slow"}:  # it was done, and nobody is told
                    self.close_connection = True
                    self.connection.close()
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP:
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
                self.send_header("Content-Length", str(length or 0))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def read_body(self):
                if self.headers.get("Expect", "").lower() == "100-continue":
                    pass  # the server of the standard library has answered that
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    body = b""
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return body
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # whoever gave up has closed the connection

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def fault(self, method, path):
        with self._lock:
            if not self.only(method, path) or self.draw.random() >= self.share:
                return None
            kind = self.draw.choice(self.kinds)
            self.spoilt[kind] += 1
            return kind

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


HOP = {"connection", "content-length", "transfer-encoding", "host", "expect", "date", "server"}


@pytest.fixture
def proxy(s3_endpoint, s3_environment, monkeypatch):
    """The store behind a proxy; time-outs and waits are short, parts of uploads small."""
    made = Proxy(s3_endpoint)
    settings = {
        "endpoint_url": made.url,
        "config_kwargs": {
            "read_timeout": TIMEOUT, "connect_timeout": 5, "retries": {"max_attempts": 1}
        },
    }  # fmt: skip
    monkeypatch.setitem(fsspec.config.conf, "s3", settings)
    monkeypatch.setattr(remote, "_filesystems", {})
    monkeypatch.setattr(place, "_WAITS", (0.01,) * 12)
    monkeypatch.setattr("s3fs.core.asyncio.sleep", _no_wait)
    yield made
    made.stop()


async def _no_wait(seconds, *_):
    return None


@pytest.fixture
def bucket(s3):
    name = f"b{uuid.uuid4().hex}"
    s3.mkdir(name)
    s3.call_s3("put_bucket_versioning", Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def versions(s3, bucket):
    told = s3.call_s3("list_object_versions", Bucket=bucket)
    return Counter(one["Key"] for one in told.get("Versions", []))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1000, 12 << 20])
def test_a_write_that_is_spoilt_is_made_once(proxy, bucket, s3, tmp_path, monkeypatch, kind, size):
    """Small ones by one put, large ones in parts; the fault strikes the request that counts."""
    small_parts(monkeypatch)
    file = tmp_path / "file"
    file.write_bytes(random.Random(size).randbytes(size))
    struck = []

    def counts(method, path):
        hit = "uploadId" in path and method == "POST" if size > 6 << 20 else method == "PUT"
        if hit and not struck:
            struck.append(path)
            return True
        return False

    proxy.share, proxy.kinds, proxy.only = 1.0, (kind,), counts
    target = ObjectPlace(f"s3://{bucket}/x.set")
    assert target.publish("shards/a.h5", file)
    assert struck
    assert proxy.spoilt == {kind: 1}
    assert versions(s3, bucket) == {"x.set/shards/a.h5": 1}
    assert s3.cat_file(f"{bucket}/x.set/shards/a.h5") == file.read_bytes()
    # Whoever comes later with something else has lost, and changes nothing.
    file.write_bytes(random.Random(1).randbytes(size))
    assert not target.publish("shards/a.h5", file)
    assert versions(s3, bucket) == {"x.set/shards/a.h5": 1}


def small_parts(monkeypatch):
    import s3fs.core

    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda size, chunksize=None: 5 << 20)


def race(proxy, bucket, s3, folder, *, faults, large):
    """Let two write each object at the same time until so many writes were spoilt."""
    proxy.share = 0.4
    target = ObjectPlace(f"s3://{bucket}/x.set")
    wins, rounds, gave_up = Counter(), 0, 0
    with ThreadPoolExecutor(2) as executor:
        while proxy.spoilt.total() < faults:
            name = f"shards/{rounds}.h5"
            files = []
            for writer in range(2):
                path = folder / f"{rounds}-{writer}"
                size = 11 << 20 if large and rounds % 10 == 0 else 300
                path.write_bytes(random.Random(2 * rounds + writer).randbytes(size))
                files.append(path)
            futures = [executor.submit(target.publish, name, file) for file in files]
            won = []
            for writer, future in enumerate(futures):
                try:
                    if future.result():
                        won.append(writer)
                except StoreError:
                    gave_up += 1  # which is told, and done again
            there = s3.cat_file(f"{bucket}/x.set/{name}") if won else None
            # One at most has won, and it is the one whose bytes are there.
            assert len(won) <= 1
            for writer in won:
                assert there == files[writer].read_bytes()
            wins[len(won)] += 1
            rounds += 1
            for file in files:
                file.unlink()
    counted = versions(s3, bucket)
    assert set(counted.values()) == {1}
    assert wins[1] <= len(counted) <= rounds
    return rounds, wins, gave_up


def test_no_wrong_commit_of_fifty_faults(proxy, bucket, s3, tmp_path, monkeypatch):
    small_parts(monkeypatch)
    _, wins, gave_up = race(proxy, bucket, s3, tmp_path, faults=50, large=False)
    assert wins[2] == 0
    assert wins[1] + gave_up > 10


@pytest.mark.heavy
def test_no_wrong_commit_of_five_hundred_faults(proxy, bucket, s3, tmp_path, monkeypatch):
    small_parts(monkeypatch)
    rounds, wins, gave_up = race(proxy, bucket, s3, tmp_path, faults=500, large=True)
    assert wins[2] == 0
    print(f"{rounds} objects, {dict(proxy.spoilt)}, wins {dict(wins)}, {gave_up} gave up")
