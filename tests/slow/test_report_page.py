"""The report in a real browser: a search shows its cases alone, and nothing sticks out."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import report_inputs

from pagefinder import reporting
from pagefinder.reporting.inputs import read_inputs

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the path"),
]

# What stands on the screen: a case that is laid out has a height.
ASK = """<script>
const shown = () => [...document.querySelectorAll("#cases .case")]
  .filter((one) => one.offsetHeight > 0).map((one) => one.dataset.kind);
const type = (words) => {
  const input = document.getElementById("find");
  input.value = words;
  input.dispatchEvent(new Event("input"));
  return shown();
};
const state = {all: shown(), q1: type("Q1 where"), nobody: type("nobody")};
type("");
document.querySelector('.find button[data-kind="tuning loses"]').click();
state.losses = shown();
document.querySelector('.find button[data-kind=""]').click();
document.querySelector("#cases .thumb").click();
state.zoomed = document.getElementById("zoom").open;
document.getElementById("zoom").close();
state.page = document.documentElement.scrollWidth;
state.window = innerWidth;
state.dark = getComputedStyle(document.body).backgroundColor;
document.title = "STATE" + JSON.stringify(state) + "ETATS";
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    root = report_inputs.write(tmp_path_factory.mktemp("report"))
    reporting.write(read_inputs(report_inputs.settings(), root), root / "report")
    path = root / "report/index.html"
    path.write_text(path.read_text(encoding="utf-8") + ASK, encoding="utf-8")
    return path


def look(page: Path, width: int, *flags: str) -> dict:
    """The state of the page at this width in pixels."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", *flags]
    done = subprocess.run(
        [*command, f"--window-size={width},900", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    match = re.search(r"<title>STATE(.*?)ETATS</title>", done.stdout)
    assert match, done.stderr[-2000:]
    return json.loads(match[1].replace("&quot;", '"'))


@pytest.mark.parametrize("width", [390, 1000, 1280])
def test_search_and_buttons_show_only_what_they_name(page, width):
    state = look(page, width)
    assert len(state["all"]) == 6
    assert state["q1"] == ["tuning gains", "reranking loses"]
    assert state["nobody"] == []
    assert state["losses"] == ["tuning loses"]
    assert state["zoomed"]
    assert state["page"] <= state["window"], "the page is wider than the window"


def test_the_page_follows_the_reader_into_the_dark(page):
    light = look(page, 1280)["dark"]
    dark = look(page, 1280, "--force-dark-mode", "--blink-settings=preferredColorScheme=0")["dark"]
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(15, 19, 24)")
