"""Measures the size of a report with eight methods, three seeds and 3,080 rows, and the time to open it.

    scripts/bench report

Needs Chromium with its driver. The answers are made up.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "reports"))

from planted import comparison
from selenium import webdriver

from stepladder.reports.comparison import page

READY = "const t = performance.getEntriesByType('navigation')[0]; return t.domComplete"
SEARCH = """const began = performance.now(), kind = document.getElementById('rows-kind');
document.getElementById('rows-search').value = '41'; kind.value = 'all'; kind.dispatchEvent(new Event('change'));
return performance.now() - began"""


def main() -> None:
    text = page(*comparison(n=3080, seeds=3, labels=77))
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(word)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.html"
        file.write_text(text, encoding="utf-8")
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        browser.get(file.as_uri())
        ready, search = browser.execute_script(READY), browser.execute_script(SEARCH)
        browser.quit()
    print(
        f"{len(text.encode()) / 1e6:.2f} MB; ready {ready / 1000:.2f} s after opening; a search {search / 1000:.2f} s"
    )


if __name__ == "__main__":
    main()
