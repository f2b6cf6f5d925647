"""A real headless Chromium, told to say all that it asked for and complained of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if not driver or not chromium:
        pytest.skip("there is no Chromium with a driver here: run the tests by .ci/chromium scripts/test")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1280,1000",
    ):
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


class Opened:
    """A page that was opened from disk, and what the browser wrote down of it."""

    def __init__(self, browser: Any, file: Path) -> None:
        self.browser, self.file = browser, file
        browser.get("about:blank")
        for log in ("browser", "performance"):  # what the browser asked for of its own accord
            browser.get_log(log)
        browser.get(file.as_uri())

    def __call__(self, script: str, *more: Any) -> Any:
        return self.browser.execute_script(script, *more)

    def until_done(self, script: str, *more: Any) -> None:
        """Run a script that calls its last argument when it is done."""
        self.browser.set_script_timeout(600)
        self.browser.execute_async_script(script, *more)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def requests(self) -> list[str]:
        """Everything but the file itself and what stands in it."""
        told = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in told if m["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if url != self.file.as_uri() and not url.startswith(("data:", "chrome:"))]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Any:
    """opened(html): the page in the browser."""

    def open_(html: str) -> Opened:
        file = tmp_path / "report.html"
        file.write_text(html, encoding="utf-8")
        return Opened(browser, file)

    return open_
