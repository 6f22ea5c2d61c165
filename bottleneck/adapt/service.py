"""A small HTTP service around a deployed model: an image in, labels out.

Requests that arrive together are computed together. A body is read up to a limit and for so long,
and decoded by threads; what is no image is refused with the decoder's reason. The model runs in one
thread of its own, which takes as many images as wait, up to the batch size.
"""

import asyncio
import logging
import socket
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bottleneck import __version__
from bottleneck.adapt.deployed import DeployedModel, open_deployed
from bottleneck.cores import available_cores
from bottleneck.errors import (
    BottleneckError,
    ExhaustedError,
    ImageError,
    OptionError,
    first_line,
    not_importable,
)
from bottleneck.exhaustion import out_of_memory
from bottleneck.images import decode
from bottleneck.options import ServeOptions
from bottleneck.status import RowStatus

_TOO_LARGE, _NO_IMAGE, _TIMED_OUT, _FAULT, _BUSY = 413, 422, 408, 500, 503


@dataclass(frozen=True)
class Served:
    """What a service did until it was stopped.

    Parameters
    ----------
    model : str
        The model's file.
    device : str
        What computed.
    requests : dict of str to int
        Answers by status code.
    images, batches : int
        How many images were labelled, in how many forward passes.
    seconds : float
        How long it ran.
    """

    model: str
    device: str
    requests: dict[str, int]
    images: int
    batches: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return dict(vars(self))


class Refused(Exception):  # noqa: N818  # an answer, not a fault of ours
    """A request that gets an answer of 400 and above; noteworthy to whoever runs the service."""

    def __init__(self, status: int, message: str, *, noteworthy: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.noteworthy = status, message, noteworthy


@dataclass
class _Counts:
    """What `/metrics` tells; touched by the event loop alone."""

    requests: Counter[int] = field(default_factory=Counter)
    images: int = 0
    batches: int = 0
    model_seconds: float = 0.0
    decode_seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def text(self, waiting: int) -> str:
        """Return them in Prometheus's text format."""
        lines = [
            "# HELP bottleneck_requests_total Answers by status code.",
            "# TYPE bottleneck_requests_total counter",
            *(
                f'bottleneck_requests_total{{status="{status}"}} {count}'
                for status, count in sorted(self.requests.items())
            ),
        ]
        for name, kind, help_, value in (
            ("images_total", "counter", "Images labelled.", self.images),
            ("batches_total", "counter", "Forward passes.", self.batches),
            ("model_seconds_total", "counter", "Seconds of the model.", self.model_seconds),
            ("decode_seconds_total", "counter", "Seconds of decoding.", self.decode_seconds),
            ("waiting", "gauge", "Images that wait for the model.", waiting),
            ("uptime_seconds", "gauge", "Seconds since it began.", time.monotonic() - self.began),
        ):
            lines += [
                f"# HELP bottleneck_{name} {help_}",
                f"# TYPE bottleneck_{name} {kind}",
                f"bottleneck_{name} {value:g}",
            ]
        return "\n".join(lines) + "\n"


class _Batches:
    """Images that wait, and the loop that computes as many as there are at a time."""

    def __init__(self, model: DeployedModel, size: int, most_waiting: int, counts: _Counts) -> None:
        self._model, self._size, self._counts = model, size, counts
        self._most = most_waiting
        self._waiting: deque[tuple[NDArray[np.uint8], asyncio.Future[Any]]] = deque()
        self._some = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")

    @property
    def waiting(self) -> int:
        """How many images wait."""
        return len(self._waiting)

    async def answer(self, pixels: NDArray[np.uint8]) -> dict[str, Any]:
        """Label an image together with those that wait beside it."""
        if len(self._waiting) >= self._most:
            raise Refused(_BUSY, f"{self._most} images wait already: try again later")
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((pixels, future))
        self._some.set()
        return await future

    async def run(self) -> None:
        """Compute for ever; cancelled at the end."""
        loop = asyncio.get_running_loop()
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting:
                taken = [
                    self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))
                ]
                # Whoever has gone away meanwhile needs no answer.
                taken = [one for one in taken if not one[1].done()]
                if taken:
                    await self._compute(loop, taken)

    async def _compute(
        self,
        loop: asyncio.AbstractEventLoop,
        taken: list[tuple[NDArray[np.uint8], asyncio.Future[Any]]],
    ) -> None:
        started = time.perf_counter()
        pixels = np.stack([image for image, _ in taken])
        try:
            found = await loop.run_in_executor(self._thread, self._model.compute, pixels)
            records = self._model.records(found)
        except Exception as error:  # noqa: BLE001  # each runtime raises its own; told to who waits
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        self._counts.model_seconds += time.perf_counter() - started
        self._counts.images += len(taken)
        self._counts.batches += 1
        for (_, future), record in zip(taken, records, strict=True):
            if not future.done():
                future.set_result(record)


def make_app(model: DeployedModel, options: ServeOptions) -> tuple[Any, _Counts]:
    """Make the ASGI application: ``POST /predict``, ``/health``, ``/metrics``.

    Raises
    ------
    RuntimeUnavailableError
        Without FastAPI.
    """
    try:
        from fastapi import FastAPI, Request
        from fastapi.responses import JSONResponse, PlainTextResponse
    except ImportError as error:
        raise not_importable("FastAPI and uvicorn", "serve", error) from error
    counts = _Counts()
    geometry = model.geometry
    decoders = ThreadPoolExecutor(available_cores(), thread_name_prefix="decode")
    held: list[_Batches] = []
    noted: set[str] = set()

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        held.append(_Batches(model, options.batch_size, options.max_waiting, counts))
        computing = asyncio.create_task(held[0].run())
        yield
        computing.cancel()

    app = FastAPI(
        title=f"bottleneck serve {model.path.name}",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )

    def pixels_of(data: bytes) -> NDArray[np.uint8]:
        return decode(data, geometry, max_pixels=int(options.max_megapixels * 1e6))

    async def labelled(request: Request) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        data = await _body(request, options.max_mb)
        started = time.perf_counter()
        try:
            pixels = await loop.run_in_executor(decoders, pixels_of, data)
        except ImageError as error:
            status = _TOO_LARGE if error.reason is RowStatus.TOO_LARGE else _NO_IMAGE
            raise Refused(status, f"{error.reason.label}: {error.message}") from error
        finally:
            counts.decode_seconds += time.perf_counter() - started
        return await held[0].answer(pixels)

    async def predict(request: Request) -> JSONResponse:
        """Label the image that is the body."""
        try:
            found = await asyncio.wait_for(labelled(request), options.timeout)
        except Exception as error:
            refused = _refusal(error, options.timeout)
            counts.requests[refused.status if refused else _FAULT] += 1
            if refused is None:
                raise
            if refused.noteworthy and refused.message not in noted:
                noted.add(refused.message)
                options.progress.note(f"requests are answered {refused.status}: {error}")
            return JSONResponse({"error": refused.message}, refused.status)
        counts.requests[200] += 1
        return JSONResponse(found)

    async def health() -> dict[str, Any]:
        """Say that it is there, and which model it has."""
        return {
            "status": "ok",
            "model": model.path.name,
            "format": model.format,
            "device": model.device,
            "classes": list(model.classes),
            "image": model.about["image"]["size"],
            "version": __version__,
        }

    async def metrics() -> str:
        """Return counts in Prometheus's text format."""
        return counts.text(held[0].waiting)

    app.add_api_route("/predict", predict, methods=["POST"])
    app.add_api_route("/health", health)
    app.add_api_route("/metrics", metrics, response_class=PlainTextResponse)
    return app, counts


def _refusal(error: Exception, timeout: float) -> Refused | None:
    """Return the answer to a request that failed; None where that is a defect of ours."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, TimeoutError):
        return Refused(_TIMED_OUT, f"expected an image and an answer within {timeout:g} s")
    if isinstance(error, ExhaustedError) or out_of_memory(error):
        # Of the machine, not of the image: it may work later, or on another one.
        told = error.message if isinstance(error, BottleneckError) else first_line(error)
        return Refused(_BUSY, told, noteworthy=True)
    return None


async def _body(request: Any, most_mb: float) -> bytes:
    """Read a request's body, no further than it may be long."""
    most = int(most_mb * 1e6)
    refused = Refused(_TOO_LARGE, f"expected a body of at most {most_mb:g} MB")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise refused
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise refused
        parts.append(part)
    return b"".join(parts)


def serve_model(options: ServeOptions) -> Served:
    """Serve until stopped; see :func:`bottleneck.serve`."""
    try:
        import uvicorn
    except ImportError as error:
        raise not_importable("FastAPI and uvicorn", "serve", error) from error
    model = open_deployed(options.model, options.device, options.progress.note)
    app, counts = make_app(model, options)
    # The first pass of most runtimes takes longer than all others.
    model.compute(np.zeros((1, *model.geometry.shape), np.uint8))
    with _bound(options.host, options.port) as listening:
        host, port = listening.getsockname()[:2]
        options.progress.note(
            f"serving {model.path.name} ({model.format}, {len(model.classes)} classes) by"
            f" {model.device} on http://{host}:{port}: POST an image to /predict"
        )
        config = uvicorn.Config(
            app, log_level=logging.WARNING, access_log=False, timeout_keep_alive=30, lifespan="on"
        )
        # It ends by Ctrl-C, which uvicorn raises once more when it is done.
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
    return Served(
        model=str(Path(options.model)),
        device=model.device,
        requests={str(status): count for status, count in sorted(counts.requests.items())},
        images=counts.images,
        batches=counts.batches,
        seconds=round(time.monotonic() - counts.began, 3),
    )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise OptionError(
            f"expected to listen on {host}:{port}, got: {error.strerror or error}",
            hint="Another program may have the port: --port 0 takes a free one.",
        ) from error
    return listening
