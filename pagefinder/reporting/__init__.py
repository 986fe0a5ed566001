"""The report: one HTML page that needs no network, the same tables as Markdown, plots as files."""

import re
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from pagefinder.reporting import gallery, written_cases
from pagefinder.reporting.format import count, gained, score
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import (
    answers,
    cost,
    negatives,
    provenance,
    reranking,
    rivals,
    training,
    tuning,
    written,
)
from pagefinder.reporting.usage import usage
from pagefinder.systems import BM25, FUSED, TUNED, WITH_BM25

TEMPLATES = Path(__file__).parent
# In the order of the page, where the gallery stands before `negatives`. A section may be None.
SECTIONS = (tuning, cost, reranking, rivals, answers, written, negatives, training, provenance)


def write(inputs: Inputs, folder: Path) -> None:
    """Write index.html, report.md and every plot as SVG and PNG into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [module.section(inputs) for module in SECTIONS]
    sections = [section for section in made if section is not None]
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
        "tiles": headline(inputs),
        "sections": sections,
        "usage": _usage(inputs),
        "reranker": bool(inputs.params.reranker.model),
        "style": markupsafe.Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
    } | _gallery(inputs)
    for template, target in (("page.html", "index.html"), ("report.md", "report.md")):
        text = environment.get_template(template).render(content)
        (folder / target).write_text(text, encoding="utf-8")
    for section in sections:
        for plot in section.plots:
            (folder / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
            (folder / f"{plot.name}.png").write_bytes(plot.png)


def headline(inputs: Inputs) -> list[tuple[str, str, str]]:
    """The numbers at the top of the page: name, value, and a detail such as the interval."""
    metrics = inputs.embedder
    tiles = [
        ("Base", score(metrics["base"]["ndcg@10"]), "NDCG@10 before tuning"),
        ("Tuned", score(metrics["tuned"]["ndcg@10"]), gained(metrics["gain"])),
    ]
    if BM25 in metrics.get("text", {}):
        detail = "NDCG@10 by the words of the pages alone"
        tiles.append(("BM25", score(metrics["text"][BM25]["ndcg@10"]), detail))
    fused = inputs.fusion.get(TUNED + WITH_BM25)
    if fused:
        detail = f"tuned and BM25: {gained(fused['over'][TUNED])} over tuned"
        tiles.append(("Fused", score(fused["ndcg@10"]), detail))
    if inputs.reranker:
        tiles.append(_reranked(inputs))
    if inputs.dimensions:
        recommended = inputs.dimensions["recommended"]["dimension"]
        detail = f"{count(4 * recommended)} bytes a page, float32"
        tiles.append(("Recommended", f"{recommended} dims", detail))
    return tiles


def _reranked(inputs: Inputs) -> tuple[str, str, str]:
    """The tile of the reranker; fused with its first stage where that has BM25."""
    depth = inputs.params.reranker.compared_depth
    system, gain, over = TUNED, inputs.reranker["gain"], ""
    if "over_first_stage" in inputs.reranker:
        system, over = FUSED, " over tuned and BM25"
        gain = inputs.reranker["over_first_stage"][FUSED]
    ndcg = inputs.reranker["depth"][str(depth)][system]["ndcg@10"]
    return "Reranked", score(ndcg), f"{gained(gain)}{over}, first {depth} pages"


def _usage(inputs: Inputs) -> str:
    """The lines of Python that show how the released models are used."""
    base, reranker = inputs.params.base, inputs.params.reranker
    return usage(base.page_content, reranker.page_content if reranker.model else None)


def _gallery(inputs: Inputs) -> dict[str, Any]:
    """The template's content on single queries and pages, by name: cases, sheets, thumbnails."""
    cases, sheet = gallery.cases(inputs), gallery.contact_sheet(inputs)
    thumbnails = gallery.thumbnails(inputs.corpus, gallery.page_ids([*cases, *sheet]))
    written_sheet, pictures = written_cases.sheet(inputs.written_sheet)
    thumbnails |= pictures
    return {
        "cases": cases,
        "kinds": list(dict.fromkeys(case.kind for case in cases)),
        "absent": gallery.absent(inputs, cases),
        "sheet": sheet,
        "written_sheet": written_sheet,
        "thumbnails": thumbnails,
        "number": {page_id: number for number, page_id in enumerate(thumbnails)},
    }


def _code(sentence: str) -> markupsafe.Markup:
    """A sentence as HTML, with the text between backticks as code."""
    return markupsafe.Markup(
        re.sub(r"`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(sentence)))
    )
