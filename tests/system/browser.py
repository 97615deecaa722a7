"""Chromium without a window, driven over its DevTools protocol: JSON with a NUL between messages, over two pipes."""

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import define, field

WAIT = 20.0
"""Seconds that a test waits for the browser, however busy the machine is."""

OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # for root, on a machine to throw away
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)

FIRST_FREE = 10
"""A descriptor that is none of those at which the browser reads (3) and writes (4)."""


@define
class Browser:
    """A running Chromium. `output` is where its messages come from, `commands` where those to it go."""

    process: subprocess.Popen[bytes]
    commands: int
    output: int
    last_id: int = 0
    received: bytes = b""
    events: list[dict[str, Any]] = field(factory=list)

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": parameters}
        os.write(self.commands, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        end = time.monotonic() + WAIT
        while True:
            answer = self._read(end)
            assert answer is not None, f"no answer to {method}"
            if answer.get("id") == self.last_id:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def receive(self, seconds: float) -> None:
        """Collect events for some time."""
        end = time.monotonic() + seconds
        while self._read(end) is not None:
            pass

    def _read(self, end: float) -> dict[str, Any] | None:
        """Return the next message, None if there is none until `end`; an event is kept too."""
        while b"\0" not in self.received:
            seconds = end - time.monotonic()
            if seconds <= 0 or not select.select([self.output], [], [], seconds)[0]:
                return None
            data = os.read(self.output, 1 << 20)
            assert data, "the browser has ended"
            self.received += data
        body, _, self.received = self.received.partition(b"\0")
        message: dict[str, Any] = json.loads(body)
        if "method" in message:
            self.events.append(message)
        return message

    def open(
        self, url: str = "about:blank", *, width: int = 1280, is_dark: bool = False, has_script: bool = True
    ) -> "Tab":
        """Open a page in a tab of its own."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Network", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        scheme = "dark" if is_dark else "light"
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        if not has_script:
            tab.call("Emulation.setScriptExecutionDisabled", value=True)
        tab.go(url)
        return tab


@define
class Tab:
    """A tab of a browser."""

    browser: Browser
    session: str

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.call(method, self.session, **parameters)

    def go(self, url: str) -> None:
        """Load a page, and wait until it is there with all its files."""
        before = len(self.events("Page.loadEventFired"))
        self.call("Page.navigate", url=url)
        end = time.monotonic() + WAIT
        while len(self.events("Page.loadEventFired")) == before:
            assert time.monotonic() < end, f"{url} is not loaded"
            self.browser.receive(0.05)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression; of a promise, what it comes to."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + WAIT
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"not true: {expression}\n{self.text}"
            self.browser.receive(0.05)

    def events(self, method: str) -> list[dict[str, Any]]:
        """Return the parameters of all events of a kind."""
        mine = (one for one in self.browser.events if one.get("sessionId") == self.session)
        return [event["params"] for event in mine if event["method"] == method]

    @property
    def text(self) -> str:
        """The text that a person sees."""
        text: str = self.evaluate("document.body.innerText")
        return text

    @property
    def urls(self) -> list[str]:
        """The addresses of all requests that the page made."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[str]:
        """What the browser wrote to its console: errors of scripts, and what the policy forbade."""
        entries = [event["entry"]["text"] for event in self.events("Log.entryAdded")]
        return entries + [str(event["exceptionDetails"]) for event in self.events("Runtime.exceptionThrown")]

    def take_picture(self, path: Path, height: int) -> None:
        """Write a picture of the first pixels of the page, a PNG."""
        width = self.evaluate("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png", clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def running_browser(directory: Path) -> Iterator[Browser]:
    """Run a browser whose profile is in a directory."""
    theirs, ours = [], []
    for their_end, our_end in ((0, 1), (1, 0)):
        pipe = os.pipe()
        theirs.append(fcntl.fcntl(pipe[their_end], fcntl.F_DUPFD, FIRST_FREE))
        os.close(pipe[their_end])
        ours.append(pipe[our_end])
    redirected = f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}'
    command = ["bash", "-c", redirected, "bash", "chromium", *OPTIONS, f"--user-data-dir={directory}", "about:blank"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, pass_fds=theirs, stdout=log, stderr=log, process_group=0)
    for descriptor in theirs:
        os.close(descriptor)
    browser = Browser(process, ours[0], ours[1])
    try:
        yield browser
    finally:
        with suppress(AssertionError, OSError):
            browser.call("Browser.close")
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait(WAIT)
        for descriptor in ours:
            os.close(descriptor)
