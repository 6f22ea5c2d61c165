"""The service on loopback: load, hostile bodies, limits."""

import io
import json
import random
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bottleneck

pytest.importorskip("fastapi", reason="the extra `serve` is missing")
pytest.importorskip("uvicorn", reason="the extra `serve` is missing")
pytest.importorskip("tf2onnx", reason="the extra `deploy` is missing")
pytest.importorskip("onnxruntime", reason="the extra `deploy` is missing")


class Service:
    """A service in a process of its own, as it is started by the command."""

    def __init__(self, model, *options):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bottleneck", "serve", str(model), "--port", "0", *options,
             "--json"],
            cwd=Path(bottleneck.__file__).parents[1],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in self.process.stderr:
            if found := re.search(r"http://([\d.]+):(\d+)", line):
                self.host, self.port = found[1], int(found[2])
                break

    def post(self, body, path="/predict", **headers):
        request = urllib.request.Request(
            f"http://{self.host}:{self.port}{path}", data=body, headers=headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.host}:{self.port}{path}", timeout=60) as answer:
            return answer.read().decode()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        return json.loads(self.process.communicate(timeout=60)[0])


@pytest.fixture(scope="module")
def model(trained, tmp_path_factory):
    place = tmp_path_factory.mktemp("model") / "m.onnx"
    bottleneck.export(trained / "h.head", place, deploy=True, images=trained / "photos/test")
    return place


@pytest.fixture
def service(model):
    running = Service(model)
    yield running
    running.kill()


def test_a_thousand_requests_of_twenty_clients(trained, service):
    images = sorted((trained / "photos/test").rglob("*.png"))
    expected = bottleneck.predict(
        trained / "h.head", trained / "photos/test", runtime="tensorflow", full_paths=True
    ).records
    labels = {Path(r["key"]).resolve(): (r["label"], r["probability"]) for r in expected}
    chosen = [random.Random(i).choice(images) for i in range(1000)]
    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda path: service.post(path.read_bytes()), chosen))
    assert len(answers) == 1000
    for path, (status, answer) in zip(chosen, answers, strict=True):
        label, probability = labels[path.resolve()]
        assert (status, answer["label"]) == (200, label)
        assert answer["probability"] == pytest.approx(probability, abs=1e-4)
    health = json.loads(service.get("/health"))
    assert health["status"] == "ok"
    assert health["classes"] == ["bag", "sneaker", "trouser"]
    metrics = service.get("/metrics")
    assert 'bottleneck_requests_total{status="200"} 1000' in metrics
    assert "bottleneck_images_total 1000" in metrics
    told = service.stop()
    assert (told["requests"], told["images"]) == ({"200": 1000}, 1000)
    assert told["batches"] < 1000  # those that came together were computed together


def hostile(number):
    """Bodies that are no image, or one that must not be opened; always the same ones."""
    rng = random.Random(number)
    png = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)).save(
        png, "PNG"
    )
    whole = png.getvalue()
    kinds = [
        lambda: b"",
        lambda: rng.randbytes(rng.randrange(1, 3000)),
        lambda: whole[: rng.randrange(1, len(whole) // 2)],
        lambda: b"<html><script>alert(1)</script></html>" * rng.randrange(1, 50),
        lambda: b"PK\x03\x04" + rng.randbytes(500),
        lambda: b"\xff\xd8\xff\xe0" + rng.randbytes(rng.randrange(1, 2000)),
        lambda: whole[:8] + rng.randbytes(800),
        lambda: b"GIF89a" + rng.randbytes(rng.randrange(1, 300)),
        lambda: b"RIFF\xff\xff\xff\xffWEBPVP8 " + rng.randbytes(200),
        lambda: json.dumps({"image": "x" * 100}).encode(),
        lambda: bomb(rng.randrange(10_000, 60_000)),
        lambda: b"\0" * rng.randrange(1, 100_000),
    ]
    return kinds[number % len(kinds)]()


def bomb(side):
    """A PNG whose header says more pixels than anybody has memory for."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    data = zlib.compress(b"\0" * 1_000_000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_five_hundred_hostile_bodies_are_refused(trained, service):
    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(lambda number: service.post(hostile(number)), range(500)))
    assert [status for status, _ in answers if not 400 <= status < 500] == []
    assert all(answer["error"] for _, answer in answers)
    # And it still works.
    image = next((trained / "photos/test/bag").iterdir())
    assert service.post(image.read_bytes())[0] == 200
    assert service.post(b"x", "/nothing")[0] == 404
    assert service.stop()["images"] == 1


def test_size_and_time_have_limits(model):
    running = Service(model, "--max-mb", "0.01", "--max-megapixels", "0.01", "--timeout", "2")
    try:
        assert running.post(b"x" * 20_000)[0] == 413
        large = io.BytesIO()
        Image.new("L", (300, 300)).save(large, "PNG")
        status, answer = running.post(large.getvalue())
        assert status == 413
        assert "90000 pixels" in answer["error"]
        # A client that begins and does not go on.
        with socket.create_connection((running.host, running.port), 30) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nabc")
            slow.settimeout(30)
            assert b" 408 " in slow.recv(4096).split(b"\r\n")[0]
        # A length that is missing, and more than is allowed comes in pieces.
        with socket.create_connection((running.host, running.port), 30) as pieces:
            pieces.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            for _ in range(4):
                pieces.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            pieces.settimeout(30)
            assert b" 413 " in pieces.recv(4096).split(b"\r\n")[0]
    finally:
        running.kill()


def test_more_than_may_wait_are_told_so():
    """The queue itself, with a model that takes its time."""
    import asyncio

    from bottleneck.adapt.service import Refused, _Batches, _Counts

    class Slow:
        def __init__(self):
            self.sizes = []

        def compute(self, pixels):
            import time

            time.sleep(0.2)
            self.sizes.append(len(pixels))
            return pixels.reshape(len(pixels), -1)

        def records(self, found):
            return [{"value": int(row[0])} for row in found]

    async def run():
        slow = Slow()
        batches = _Batches(slow, 4, 6, _Counts())
        computing = asyncio.create_task(batches.run())
        asked = [
            asyncio.create_task(batches.answer(np.full((1, 1, 1), value, np.uint8)))
            for value in range(9)
        ]
        found = await asyncio.gather(*asked, return_exceptions=True)
        computing.cancel()
        return found, slow.sizes

    found, sizes = asyncio.run(run())
    refused = [one for one in found if isinstance(one, Refused)]
    assert [one["value"] for one in found if isinstance(one, dict)] == list(range(6))
    assert {one.status for one in refused} == {503}
    assert len(refused) == 3
    assert sizes == [4, 2]


def test_a_machine_at_its_limit_answers_that_it_is(monkeypatch):
    """Later it may work; a balancer asks another one."""
    import asyncio
    from types import SimpleNamespace

    from bottleneck.adapt import service
    from bottleneck.errors import DeviceMemoryError, ExhaustedError
    from bottleneck.options import ServeOptions

    notes = []
    model = SimpleNamespace(path=Path("m.onnx"), geometry=None)
    options = ServeOptions("m.onnx", progress=SimpleNamespace(note=notes.append))

    def fail(data, *arguments, **options):
        raise errors[-1]

    async def post(app):
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"x"}

        async def send(message):
            sent.append(message)

        scope = {
            **{"type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict"},
            **{"query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http"},
        }
        await app(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    monkeypatch.setattr(service, "decode", fail)
    app, counts = service.make_app(model, options)
    errors = [ExhaustedError("at its limit: Too many open files", hint="ulimit -n")]
    expected = (503, {"error": "at its limit: Too many open files"})
    assert [asyncio.run(post(app)) for _ in range(3)] == [expected] * 3
    assert counts.requests == {503: 3}
    assert notes == ["requests are answered 503: at its limit: Too many open files\nulimit -n"]
    errors.append(DeviceMemoryError("the GPU has not enough memory"))
    assert asyncio.run(post(app)) == (503, {"error": "the GPU has not enough memory"})
    assert len(notes) == 2
    errors.append(RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        asyncio.run(post(app))
    assert counts.requests == {503: 4, 500: 1}
    assert len(notes) == 2


def test_a_port_that_is_taken_is_refused(model):
    from bottleneck.errors import OptionError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OptionError, match="expected to listen on 127.0.0.1"):
            bottleneck.serve(model, port=taken.getsockname()[1])
