"""What a person sees of a finished run: the Prefect dashboard and the report, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver = shutil.which("chromedriver")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    chromium = chromium or shutil.which("google-chrome")
    if driver is None or chromium is None:
        pytest.skip("there is no Chromium with chromedriver: `make test-browser` installs them")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-proxy-server",
        "--window-size=1500,1400",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    started = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(executable_path=driver)
    )
    started.set_page_load_timeout(120)
    yield started
    started.quit()


def texts(browser: Any, waiting: Any, *wanted: str) -> None:
    """Waits until a page shows some texts."""

    def shown() -> bool:
        body = browser.execute_script("return document.body ? document.body.innerText : ''")
        return all(text in body for text in wanted)

    waiting(shown, f"the page shows {wanted}", every=0.3)


def images(browser: Any) -> list[int]:
    """Natural widths of the pictures that came with their data."""
    script = (
        "return [...document.images].filter(i => i.complete && i.src.startsWith('data:'))"
        ".map(i => i.naturalWidth)"
    )
    found: list[int] = browser.execute_script(script)
    return found


def test_the_page_of_a_finished_run_shows_its_artifacts(browser, finished_run, waiting, tmp_path):
    run = finished_run.flow_run
    browser.get(f"{finished_run.server.address}/runs/flow-run/{run['id']}")
    texts(browser, waiting, run["name"], "Completed", "Subflow Runs", "Artifacts")
    press = (
        "const tab = [...document.querySelectorAll('*')]"
        ".filter(e => e.textContent.trim() === 'Artifacts').at(-1);"
        "if (tab) tab.click(); return Boolean(tab)"
    )
    waiting(lambda: browser.execute_script(press), "there is a tab for artifacts")
    texts(browser, waiting, "scores-tokyo", "report-tokyo", "prior-tokyo")
    _screenshot(browser, tmp_path / "flow_run.png")


def test_the_dashboard_shows_table_picture_and_lineage(browser, finished_run, waiting, tmp_path):
    artifacts = {
        artifact["key"].partition("-in-")[0]: artifact
        for artifact in finished_run.server.artifacts(finished_run.flow_run["id"])
    }

    def open_artifact(key: str) -> None:
        address = f"{finished_run.server.address}/artifacts/artifact/{artifacts[key]['id']}"
        browser.get(address)

    open_artifact("scores-tokyo")
    texts(browser, waiting, "mIoU", "Pre-trained", "Fine-tuned", "Bicycle")
    _screenshot(browser, tmp_path / "table.png")
    open_artifact("prior-tokyo")
    waiting(lambda: any(width > 100 for width in images(browser)), "the picture is there")
    _screenshot(browser, tmp_path / "picture.png")
    open_artifact("report-tokyo-lineage")
    texts(browser, waiting, "made of", "evaluation-full", artifacts["report-tokyo-lineage"]["key"])
    _screenshot(browser, tmp_path / "lineage.png")


def test_the_report_shows_its_pictures_without_a_network(browser, finished_run, waiting, tmp_path):
    (report,) = finished_run.store.glob("report/tokyo/*/report.html")
    browser.get(report.as_uri())
    texts(browser, waiting, "IoU by class, in percent", "Full method")
    waiting(
        lambda: browser.execute_script("return [...document.images].every(i => i.complete)"),
        "all pictures are decoded",
    )
    widths = images(browser)
    assert len(widths) >= 3
    assert all(width > 100 for width in widths)
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [name for name in loaded if not name.startswith("data:")] == []
    sideways = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(sideways) <= 0
    browser.set_window_size(1300, 3000)
    _screenshot(browser, tmp_path / "report.png")
    browser.set_window_size(420, 900)
    assert browser.execute_script(sideways) <= 0, "a phone has to scroll the page sideways"


def _screenshot(browser: Any, path: Path) -> None:
    assert browser.save_screenshot(str(path))
    assert path.stat().st_size > 5_000
