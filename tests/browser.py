"""A headless Chromium that tests drive by the WebDriver protocol, which is plain HTTP: no package is needed for it."""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

KEYS = {"down": "\ue015", "tab": "\ue004", "enter": "\ue007"}
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name of an element reference


def programs() -> tuple[str, str]:
    """Paths of Chromium and its driver; skips the test where one is missing."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver") or shutil.which("chromium.chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver on this machine: pages are not drawn (apt install chromium-driver)")
    return chromium, driver


class Browser:
    """One window. `console` and `requests` tell what happened since they were last asked."""

    def __init__(self, profile: Path):
        chromium, driver = programs()
        log = profile.with_suffix(".log")
        self._process = subprocess.Popen([driver, "--port=0"], stdout=log.open("w"), stderr=subprocess.STDOUT)
        try:
            self._url = f"http://127.0.0.1:{_port(log)}"
            flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
            options = {"binary": chromium, "args": [*flags, f"--user-data-dir={profile}"]}
            logs = {"browser": "ALL", "performance": "ALL"}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
            found = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._url += f"/session/{found['sessionId']}"
        except BaseException:
            self._process.kill()
            raise

    def close(self) -> None:
        """End browser and driver."""
        try:
            self._call("DELETE", "", None)
        finally:
            self._process.terminate()
            self._process.wait(30)

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file from disk, anew even where only the fragment differs, and forget the logs so far."""
        self._call("POST", "/url", {"url": "about:blank"})
        self.console(), self.requests()
        self._call("POST", "/url", {"url": path.resolve().as_uri() + fragment})

    def run(self, script: str, *arguments: Any) -> Any:
        """What `script`, a function's body, returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Until the JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.1)

    def press(self, *keys: str) -> None:
        """Type keys, of `KEYS` or single characters, into whatever has the focus."""
        focused = self._call("GET", "/element/active")[_ELEMENT]
        for key in keys:
            self._call("POST", f"/element/{focused}/value", {"text": KEYS.get(key, key)})
            focused = self._call("GET", "/element/active")[_ELEMENT]

    def screen(self, width: int, height: int, dark: bool = False) -> None:
        """Size of the window in CSS pixels, and what the reader prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._command("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def screenshot(self, path: Path, whole: bool = False) -> Path:
        """Save what is seen, or the whole page, as PNG."""
        shot = self._command("Page.captureScreenshot", {"captureBeyondViewport": whole} | self._clip(whole))
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self._command("Page.getLayoutMetrics", {})["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def console(self) -> list[str]:
        """Messages of the console: errors, warnings, violations of the security policy."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Addresses that pages have asked for, data: included."""
        entries = self._call("POST", "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def _command(self, name: str, parameters: dict[str, Any]) -> Any:
        return self._call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=180) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None


def _port(log: Path) -> str:
    """The port that the driver says it has chosen."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        words = log.read_text().split("started successfully on port ")
        if len(words) > 1:
            return words[1].split(".")[0].strip()
        time.sleep(0.05)
    raise AssertionError(f"chromedriver did not start: {log.read_text()}")
