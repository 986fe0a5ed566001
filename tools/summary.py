"""Print the closing table of `make repro`: scores, stages with time and memory, the report's path.

No DVC stage: it reads what the pipeline wrote, and changes nothing.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pagefinder import params_file
from pagefinder.layout import METRICS, REPORT
from pagefinder.reporting.format import p_value, smallest_p
from pagefinder.runtime.outputs import WORK
from pagefinder.systems import BASE, EMBEDDER, FUSED, TUNED, WITH_BM25, label


def scores(root: Path) -> Iterator[Sequence[str]]:
    """Rows of system, NDCG@10, gain, 95% interval, p; systems that were not measured have none."""
    embedder = metrics(root, "embedder")
    if not embedder:
        return
    yield "base embedder", f"{embedder['base']['ndcg@10']:.4f}", "", "", ""
    knobs = params_file.load(root / "params.yaml")
    smallest = {"smallest_p": smallest_p(knobs.evaluate.bootstrap)}
    tuned = f"{embedder['tuned']['ndcg@10']:.4f}"
    yield "tuned embedder", tuned, *gain_cells(embedder["gain"] | smallest)
    yield from _reranked_scores(root, knobs.reranker.compared_depth, smallest)
    fusion = metrics(root, "fusion")
    for system in (BASE + WITH_BM25, TUNED + WITH_BM25):
        if system in fusion:
            yield from _gain_rows(label(system), fusion[system], smallest)
    for system, ndcg in (embedder.get("text", {}) | embedder.get("compare", {})).items():
        yield label(system), f"{ndcg['ndcg@10']:.4f}", "", "", ""
        yield from _gain_rows(label(system), ndcg | fusion.get(system, {}), smallest)


def _reranked_scores(
    root: Path, depth: int, smallest: Mapping[str, float]
) -> Iterator[Sequence[str]]:
    """The rows of `scores` of the reranked pages; none where params name another depth now."""
    reranker = metrics(root, "reranker")
    by_system = reranker.get("depth", {}).get(str(depth))
    if not by_system:
        return
    gain = reranker["gain"]
    difference = by_system[TUNED]["ndcg@10"] - by_system[EMBEDDER]["ndcg@10"]
    if abs(difference - gain["ndcg@10"]) > 1e-5:  # the gain is that of the depth recorded then
        return
    reranked = f"first {depth} reranked"
    over_tuned = f"{reranked}, over {label(TUNED)}"
    yield over_tuned, f"{by_system[TUNED]['ndcg@10']:.4f}", *gain_cells({**gain, **smallest})
    first_stage = TUNED + WITH_BM25
    names = {TUNED: reranked, FUSED: f"{label(first_stage)} + reranker"}
    for system, over in reranker.get("over_first_stage", {}).items():
        row = {**by_system[system], "over": {first_stage: over}}
        yield from _gain_rows(names[system], row, smallest)


def _gain_rows(
    name: str, row: Mapping[str, Any], smallest: Mapping[str, float]
) -> Iterator[Sequence[str]]:
    """A row of `scores` for each system over which another has a gain.

    Args:
        name: A reader's name of the other system.
        row: Its ndcg@10, and under `over` its gains by system.
        smallest: The smallest p-value that the resamples can show, under `smallest_p`.
    """
    for system, gain in row.get("over", {}).items():
        cells = gain_cells({**gain, **smallest})
        yield f"{name}, over {label(system)}", f"{row['ndcg@10']:.4f}", *cells


def gain_cells(gain: dict[str, float]) -> tuple[str, str, str]:
    """A gain in NDCG@10, its interval or "too few documents", and its p-value, as text."""
    ndcg = f"{gain['ndcg@10']:+.4f}"
    if "low" not in gain:
        return ndcg, f"too few documents ({gain.get('documents', 0):.0f})", ""
    return ndcg, f"{gain['low']:+.4f} to {gain['high']:+.4f}", p_value(gain)


def recommendation(root: Path) -> str:
    """A line on the dimension that the release is cut to, and its cost; "" without metrics."""
    dimensions = metrics(root, "dimensions")
    if not dimensions:
        return ""
    recommended = str(dimensions["recommended"]["dimension"])
    at = dimensions["precision"]["float32"][recommended]
    return (
        f"recommended: {recommended} dimensions{certainty(dimensions)}, {at['bytes_per_page']:,} "
        f"bytes a page as float32, NDCG@10 {at['ndcg@10']:.4f}\n"
    )


def certainty(dimensions: dict[str, Any]) -> str:
    """How often resampled dev sets choose the recommended dimension, as text in brackets.

    "" where dev has too few documents. `dimensions` is the content of metrics/dimensions.json.
    """
    at = dimensions.get("dev", {}).get(str(dimensions["recommended"]["dimension"]), {})
    return f" ({at['share']:.0%} of resampled dev sets choose it)" if "share" in at else ""


def times(root: Path) -> list[Sequence[str]]:
    """Rows of stage, seconds, peak MiB, in the order of dvc.yaml, and their total.

    A stage is "cached" where `make repro` did not run it, because nothing that it reads changed.
    """
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    start_file = root / WORK / "started"
    start = start_file.stat().st_mtime if start_file.exists() else 0.0
    rows: list[Sequence[str]] = []
    total_seconds, highest_peak = 0.0, 0
    for name, stage in stages.items():
        all_runs = timings(root / WORK / "timings" / f"{name}.jsonl")
        # Times are rounded to a tenth of a second when they are written.
        runs = [run for run in all_runs if run["started"] >= start - 0.1]
        if runs:  # a matrix runs once for every model
            seconds = sum(run["seconds"] for run in runs)
            peak = max(run["peak_mib"] for run in runs)
            total_seconds, highest_peak = total_seconds + seconds, max(highest_peak, peak)
            rows.append((name, f"{seconds:.1f}", f"{peak:,}"))
        elif all_runs or "matrix" not in stage:
            rows.append((name, "cached", ""))
    return [*rows, ("total", f"{total_seconds:.1f}", f"{highest_peak:,}" if highest_peak else "")]


def timings(path: Path) -> list[dict[str, Any]]:
    """A stage's runs on this machine, the newest last, without lines torn by a kill."""
    runs = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError):
            runs.append(json.loads(line))
    return runs


def metrics(root: Path, name: str) -> dict[str, Any]:
    """metrics/NAME.json; {} where there is none."""
    path = root / METRICS / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def main(root: Path = Path()) -> None:
    """Write the tables to standard output."""
    rows = list(scores(root))
    text = "\n"
    if rows:
        text += aligned(("", "NDCG@10", "gain", "95% interval", "p"), rows)
        text += recommendation(root) + "\n"
    text += aligned(("stage", "seconds", "peak MiB"), times(root))
    page = root / REPORT / "index.html"
    text += f"\nreport: {page.resolve()}\n" if page.is_file() else "\nno report was written\n"
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
