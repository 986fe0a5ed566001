"""The report: one HTML page that needs no network, the same tables as Markdown, plots as files."""

import re
from pathlib import Path

import jinja2
import markupsafe

from pagefinder.reporting import costs, gallery, learning, provenance, rivals, sections, spread
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.usage import USAGE

TEMPLATES = Path(__file__).parent


def write(inputs: Inputs, folder: Path) -> None:
    """Write index.html, report.md and every plot as SVG and PNG into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tuning = sections.tuning(inputs)
    spread.show(tuning, inputs)
    every = {
        section.anchor: section
        for section in (
            tuning,
            costs.cost(inputs),
            sections.reranking(inputs),
            rivals.rivals(inputs),
            learning.negatives(inputs),
            learning.training(inputs),
            provenance.what_ran(inputs),
        )
    }
    cases, sheet = gallery.cases(inputs), gallery.contact_sheet(inputs)
    thumbnails = gallery.thumbnails(inputs.corpus, gallery.page_ids([*cases, *sheet]))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = _code
    content = {
        "tiles": sections.headline(inputs),
        "sections": every,
        "cases": cases,
        "kinds": list(dict.fromkeys(case.kind for case in cases)),
        "absent": gallery.absent(inputs, cases),
        "sheet": sheet,
        "thumbnails": thumbnails,
        "number": {page: number for number, page in enumerate(thumbnails)},
        "usage": USAGE,
        "style": markupsafe.Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
    }
    for template, target in (("page.html", "index.html"), ("report.md", "report.md")):
        text = environment.get_template(template).render(content)
        (folder / target).write_text(text, encoding="utf-8")
    for section in every.values():
        for plot in section.plots:
            (folder / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
            (folder / f"{plot.name}.png").write_bytes(plot.png)


def _code(sentence: str) -> markupsafe.Markup:
    """The sentence as HTML, what stands between backticks as code."""
    return markupsafe.Markup(
        re.sub(r"`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(sentence)))
    )
