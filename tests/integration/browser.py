"""A headless Chromium, told what to do over a pipe by its DevTools protocol: no driver, no package, no port.

What a person does is done as a person does it: by the mouse and the keys, at the place where a thing is seen.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any, TypeVar

CHROMIUM = "chromium"
PATIENCE_S = 60.0  # for anything at all: the machine may be loaded
KEYS = {
    "Tab": 9, "Enter": 13, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36, "ArrowLeft": 37,
}  # fmt: skip
_TEXT = {"Enter": "\r", " ": " "}
T = TypeVar("T")


def missing() -> str:
    """Why there is no browser; "" if there is one."""
    return "" if shutil.which(CHROMIUM) else "the page is driven by Debian's package chromium"


class Tab:
    """One tab of the browser, and everything that went wrong or was asked for in it."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write = read, write
        self._number, self._buffer = 0, b""
        self._session: str | None = None
        self.errors: list[
            str
        ] = []  # exceptions, console.error, refusals of the content security policy, failed requests
        self.requests: list[str] = []
        target = self._do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._do(f"{domain}.enable")
        self.look()

    def look(
        self, width: int = 1280, height: int = 900, *, dark: bool = False, language: str = "en", still: bool = True
    ) -> None:
        """The window's size, the theme, the person's language; `still`: nothing moves."""
        self._do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "",
        }
        self._do(
            "Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in features.items()]
        )
        agent = self._do("Browser.getVersion")["userAgent"]
        self._do("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)

    def open(self, url: str, *, again: bool = False) -> None:
        """Load a page: as if never seen before, or `again`."""
        self._do("Page.navigate", url="about:blank")
        if not again:
            self._do("Storage.clearDataForOrigin", origin="/".join(url.split("/")[:3]), storageTypes="all")
        self._do("Page.navigate", url=url)

    # --- what is seen ------------------------------------------------------------------------------------------

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        done = self._do("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, f"{script}: {done['exceptionDetails']}"
        return done["result"].get("value")

    def text(self, selector: str) -> str:
        """What can be read there; "" if it is not there."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def texts(self, selector: str) -> list[str]:
        """What can be read at each of them."""
        found: list[str] = self.run(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText.trim())"
        )
        return found

    def count(self, selector: str) -> int:
        """How many there are."""
        return int(self.run(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def wait(self, condition: Callable[[], T], what: str) -> T:
        """The condition's value as soon as it is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not seen: {what}; errors: {self.errors}; {self.text('body')[:2000]}"
            time.sleep(0.05)
        return value

    def see(self, selector: str, words: str = "") -> str:
        """Wait until this can be read there; all that can."""
        here = json.dumps(selector)
        script = f"(e => e && [e.innerText])(document.querySelector({here}))"

        def seen() -> list[str]:
            found: list[str] = self.run(script) or []
            return found if found and words in found[0] else []

        return self.wait(seen, f"{words!r} at {selector}")[0]

    # --- what is done ------------------------------------------------------------------------------------------

    def click(self, selector: str, *, across: float = 0.5) -> None:
        """Click at its middle, or so far across it, once it can be seen."""
        self.see(selector)
        box = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const box = e.getClientRects()[0];"
            f" return [box.x + box.width * {across}, box.y + box.height / 2];"
            f" }})(document.querySelector({json.dumps(selector)}))"
        )
        at = {"x": box[0], "y": box[1]}
        self._do("Input.dispatchMouseEvent", type="mouseMoved", **at)
        for kind in ("mousePressed", "mouseReleased"):
            self._do("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def press(self, *keys: str) -> None:
        """Press keys, one after another: a name of `KEYS`, or a character."""
        for key in keys:
            code = KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
            text = _TEXT.get(key, key if len(key) == 1 else "")
            told = {"key": key, "windowsVirtualKeyCode": code, "code": key if key in KEYS else ""}
            self._do("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **told)
            self._do("Input.dispatchKeyEvent", type="keyUp", **told)

    def picture(self, file: Path, *, clip: tuple[int, int] | None = None) -> None:
        """A picture of the window, or of so much of it from its corner."""
        area = {} if clip is None else {"clip": {"x": 0, "y": 0, "width": clip[0], "height": clip[1], "scale": 1}}
        file.write_bytes(base64.b64decode(self._do("Page.captureScreenshot", format="png", **area)["data"]))

    # --- the pipe ----------------------------------------------------------------------------------------------

    def _do(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        said: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session and not method.startswith(("Target.", "Browser.")):
            said["sessionId"] = self._session
        os.write(self._write, json.dumps(said).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._number:
                assert "error" not in heard, f"{method}: {heard['error']}"
                result: dict[str, Any] = heard["result"]
                return result
            self._note(heard.get("method", ""), heard.get("params", {}))

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select([self._read], [], [], PATIENCE_S)[0], "the browser does not answer"
            more = os.read(self._read, 1 << 20)
            assert more, "the browser is gone"
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        heard: dict[str, Any] = json.loads(message)
        return heard

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(str([each.get("value", each.get("description")) for each in told["args"]]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])


@contextmanager
def browsing() -> Iterator[Tab]:
    """A browser with a profile of its own, for the block."""
    its_read, write = os.pipe()
    read, its_write = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = (
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-extensions", "--disable-component-update", "--disable-background-networking", "--disable-sync",
            "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank",
        )  # fmt: skip
        placed = f'exec "$0" "$@" 3<&{its_read} 4>&{its_write}'  # the numbers that the protocol knows
        process = subprocess.Popen(
            ["bash", "-c", placed, CHROMIUM, *flags], pass_fds=(its_read, its_write), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(its_read)
        os.close(its_write)
        try:
            yield Tab(read, write)
        finally:
            os.close(write)
            os.close(read)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
