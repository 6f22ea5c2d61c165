"""A headless Chromium driven over its pipe: no driver program, no package, no port.

Chromium with ``--remote-debugging-pipe`` reads DevTools commands from descriptor 3 and answers
on descriptor 4, JSON documents that end in a zero byte.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time

# Puts the pipes where Chromium looks for them, by way of numbers that are surely free.
LAUNCH = (
    "import os, sys; a, b = map(int, sys.argv[1:3]); os.dup2(a, 98); os.dup2(b, 99); "
    "os.dup2(98, 3); os.dup2(99, 4); os.execv(sys.argv[3], sys.argv[3:])"
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium():
    """Return the browser's path, from CHROMIUM or the usual names, or None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in one headless browser; everything it logs and asks for is kept.

    Attributes
    ----------
    console : list of str
        Errors and warnings of the page: exceptions, console calls, what the policy refused.
    requests : list of str
        Addresses that were asked for, but for ``data:``.
    """

    def __init__(self, program, profile, *, width=1280, height=900, timeout=60.0):
        self.timeout = timeout
        self.console, self.requests = [], []
        self._number, self._buffer, self._answers = 0, b"", {}
        their_in, self._out = os.pipe()
        self._in, their_out = os.pipe()
        arguments = [
            program,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--hide-scrollbars",
            f"--window-size={width},{height}",
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(their_in), str(their_out), *arguments],
            pass_fds=(their_in, their_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(their_in)
        os.close(their_out)
        self._session = None
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def open(self, path, *, width=1280, height=900, dark=False):
        """Open a file from disk and wait until the page says it is drawn."""
        self.open_url(path.resolve().as_uri(), width=width, height=height, dark=dark)

    def open_url(self, url, *, width=1280, height=900, dark=False):
        """Open a page by its address and wait until it says it is drawn."""
        self.console.clear()
        self.requests.clear()
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Page.navigate", url=url)
        self.wait("document.documentElement?.dataset.ready === 'yes'")
        # Two frames: charts are drawn when their width is known.
        self.run("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def run(self, expression):
        """Evaluate JavaScript and return its value."""
        found = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def wait(self, expression):
        """Wait until an expression is true."""
        end = time.monotonic() + self.timeout
        while not self.run(expression):
            assert time.monotonic() < end, f"still not true: {expression}"
            time.sleep(0.02)

    def place_of(self, selector):
        """Scroll an element into view and return its middle."""
        return self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )

    def hover(self, selector):
        """Move the mouse over an element."""
        self.move_to(*self.place_of(selector))

    def click(self, selector):
        """Click an element with the mouse."""
        self.click_at(*self.place_of(selector))

    def click_at(self, x, y):
        """Click a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, x, y, button="left", clickCount=1)

    def move_to(self, x, y):
        """Move the mouse to a place of the window."""
        self._mouse("mouseMoved", x - 1, y - 1)
        self._mouse("mouseMoved", x, y)

    def drag(self, points):
        """Press at the first place of the window, move over the others, let go at the last."""
        x, y = points[0]
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y, button="left", clickCount=1)
        for x, y in points[1:]:
            self._mouse("mouseMoved", x, y, button="left", buttons=1)
        self._mouse("mouseReleased", x, y, button="left", clickCount=1)

    def type(self, text):
        """Type into what has the focus."""
        self._call("Input.insertText", text=text)

    def downloads_to(self, folder):
        """Save what the page hands out as files there."""
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def press(self, key):
        """Press a key, as named by ``KeyboardEvent.key``."""
        code = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32}.get(key, 0)
        text = {"Enter": {"text": "\r"}, " ": {"text": " "}}.get(key, {})
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )

    def screenshot(self, path, *, whole=True):
        """Save what the page looks like."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        found = self._call(
            "Page.captureScreenshot",
            captureBeyondViewport=whole,
            **({"clip": clip} if whole else {}),
        )
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self):
        """End the browser."""
        self._session = None
        try:
            self._send("Browser.close", {})
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(10)
        os.close(self._in)
        os.close(self._out)

    def _mouse(self, kind, x, y, **more):
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def _send(self, method, parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._number

    def _call(self, method, **parameters):
        number = self._send(method, parameters)
        end = time.monotonic() + self.timeout
        while number not in self._answers:
            self._read(end, method)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _read(self, end, what):
        ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"no answer to {what} in {self.timeout:g} s"
        data = os.read(self._in, 1 << 20)
        assert data, f"the browser went away during {what}"
        *messages, self._buffer = (self._buffer + data).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._event(message["method"], message["params"])

    def _event(self, name, about):
        if name == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.console.append(details.get("exception", {}).get("description", details["text"]))
        elif name == "Runtime.consoleAPICalled":
            self.console.append(str([argument.get("value") for argument in about["args"]]))
        elif name == "Log.entryAdded":
            self.console.append(about["entry"]["text"])
        elif name == "Network.requestWillBeSent":
            address = about["request"]["url"]
            if not address.startswith("data:"):
                self.requests.append(address)
