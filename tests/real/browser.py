"""Headless Chromium, driven by its DevTools protocol over a pipe: nothing but the browser is needed."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # it would need namespaces that containers do not have
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "about:blank",
)
_KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "ArrowDown": (40, ""), "ArrowUp": (38, ""), "Tab": (9, "")}


def program() -> str:
    """Return the path of a Chromium, '' where there is none."""
    return next(filter(None, map(shutil.which, _PROGRAMS)), "")


class Browser:
    """A Chromium of its own with a profile in ``folder``."""

    def __init__(self, folder: Path) -> None:
        ours, theirs, self._number = os.pipe(), os.pipe(), 0
        # The child wants 3 and 4: these must be out of their way before they are moved there.
        reading, writing = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs[0], ours[1]))

        def move() -> None:
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        command = [program(), f"--user-data-dir={folder}", *_OPTIONS]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(
            command,
            preexec_fn=move,  # noqa: PLW1509 - a handful of system calls
            pass_fds=(3, 4),
            start_new_session=True,
            **quiet,
        )
        for fd in (reading, writing, theirs[0], ours[1]):
            os.close(fd)
        self._in, self._out = ours[0], theirs[1]
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def send(self, method: str, values: Mapping[str, Any] | None = None, session: str = "") -> dict[str, Any]:
        """Call a method and return its result; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": dict(values or {})}
        data = json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        while True:
            answer = self._next(time.monotonic() + 120)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(until - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            part = os.read(self._in, 1 << 20)
            assert part, "the browser ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def tab(self, width: int, height: int = 900, scheme: str = "light") -> Tab:
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        return Tab(self, target, session, width, height, scheme)


class Tab:
    """One page, of a width and a colour scheme."""

    def __init__(
        self, browser: Browser, target: str, session: str, width: int, height: int, scheme: str
    ) -> None:
        self._browser, self._target, self._session = browser, target, session
        for part in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{part}.enable")
        self.send("Page.bringToFront")  # what is behind is not drawn
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", screen)
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", {"features": wanted})

    def send(self, method: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._browser.send(method, values, self._session)

    def open(self, path: Path, fragment: str = "") -> float:
        """Load a file; return the seconds until its script is through."""
        start = time.monotonic()
        self.send("Page.navigate", {"url": path.as_uri() + fragment})
        self.wait("document.readyState === 'complete' && !document.getElementById('search').hidden")
        return time.monotonic() - start

    def value(self, expression: str) -> Any:
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        found = self.send("Runtime.evaluate", asked)
        assert "exceptionDetails" not in found, (expression, found)
        return found["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> float:
        """Wait until an expression is true; return how long that took."""
        start = time.monotonic()
        while not self._true(expression):
            assert time.monotonic() - start < seconds, expression
            time.sleep(0.01)
        return time.monotonic() - start

    def _true(self, expression: str) -> bool:
        found = self.send("Runtime.evaluate", {"expression": expression, "returnByValue": True})
        return "exceptionDetails" not in found and bool(found["result"].get("value"))

    def frame(self) -> None:
        """Wait until what was changed is drawn."""
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def key(self, key: str) -> None:
        code, text = _KEYS[key] if key in _KEYS else (ord(key.upper()), key)
        values = {"key": key, "windowsVirtualKeyCode": code, "text": text}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent", {"type": kind, **(values if kind == "keyDown" else {"key": key})}
            )

    def type(self, text: str) -> None:
        self.send("Input.insertText", {"text": text})

    def picture(self, path: Path) -> None:
        data = self.send("Page.captureScreenshot", {"format": "png"})["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self) -> bytes:
        return base64.b64decode(self.send("Page.printToPDF", {"printBackground": True})["data"])

    def complaints(self) -> list[Any]:
        """Return what the page did that it must not: errors, messages, dialogs, requests of anything else."""
        mine = [event for event in self._browser.events if event.get("sessionId") == self._session]
        bad = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        found: list[Any] = [event for event in mine if event["method"] in bad]
        found += [event for event in mine if event["method"] == "Page.javascriptDialogOpening"]
        asked = [
            one["params"]["request"]["url"] for one in mine if one["method"] == "Network.requestWillBeSent"
        ]
        return found + [url for url in asked if not url.startswith("file:")] + asked[1:]

    def forget(self) -> None:
        """Leave out of complaints what was meant to be stopped."""
        self._browser.events.clear()

    def close(self) -> None:
        self._browser.send("Target.closeTarget", {"targetId": self._target})
