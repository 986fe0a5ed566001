"""Did tuning help, by how much, how sure are we."""

import math

import pandas as pd

from pagefinder.data.corpus import SECTION
from pagefinder.reporting import plots, spread
from pagefinder.reporting.format import count, gained, metric_label, score, verdict
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table, gain_cells, gain_table
from pagefinder.systems import BASE, RERANKED, TUNED, WITH_BM25


def section(inputs: Inputs) -> Section:
    """NDCG@10 before and after; the gain in each metric, by kind of question, page and seed."""
    section = Section("tuning", "Tuning", "Did tuning help, and how sure are we?")
    metrics = inputs.embedder
    base, tuned = metrics[BASE]["ndcg@10"], metrics[TUNED]["ndcg@10"]
    section.verdict, sentence = verdict(metrics["gain"], "Tuning")
    section.answer.append(
        f"NDCG@10 goes from {score(base)} to {score(tuned)} on {_eval_split(inputs)}: "
        f"{gained(metrics['gain'])}."
    )
    section.answer.append(sentence)
    if any(SECTION in name for name in _units(inputs)):
        section.answer.append(
            "The documents are too few to be resampled, so intervals resample their sections: they"
            " say how sure this is for these documents, not for others."
        )
    _metrics(section, inputs.comparisons)
    _queries(section, inputs.queries)
    _add_gains_by_group(section, inputs.slices)
    spread.show(section, inputs)
    return section


def _eval_split(inputs: Inputs) -> str:
    """The number of queries, documents, sections (if resampled) and pages of eval as text."""
    pages = len(inputs.corpus.page_rows("eval"))
    queries = len(inputs.queries) or len(inputs.corpus.query_rows("eval"))
    documents, sections = int(inputs.embedder["gain"].get("documents", 0)), ""
    if any(SECTION in name for name in _units(inputs)):
        sections = f" in {count(documents)} sections"
        documents = len({name.split(SECTION)[0] for name in _units(inputs)})
    return (
        f"{count(queries)} queries about {count(documents)} documents{sections},"
        f" over {count(pages)} pages"
    )


def _units(inputs: Inputs) -> list[str]:
    """What is resampled for each eval query: its document, or a section of it."""
    if "document_id" not in inputs.queries:
        return []
    return [str(name) for name in inputs.queries["document_id"]]


def _metrics(section: Section, comparisons: pd.DataFrame) -> None:
    """Add a table and a plot of tuning's gain in each metric."""
    if comparisons.empty:
        return
    rows = comparisons[(comparisons["before"] == BASE) & (comparisons["after"] == TUNED)]
    labels = rows["metric"].map(metric_label)
    section.tables.append(gain_table("Tuned against base", "metric", rows, labels))
    labelled = rows.assign(label=labels)
    section.plots.append(plots.gains(labelled, "gain", "Gain of tuning over the base"))


def _queries(section: Section, queries: pd.DataFrame) -> None:
    """Add how many queries are better and worse, and a plot of their right pages' ranks."""
    if queries.empty:
        return
    change = queries[f"{TUNED}.ndcg@10"] - queries[f"{BASE}.ndcg@10"]
    # Rank 0 is that of a page that was not found.
    ranks = [queries[f"{system}.rank"].replace(0, math.inf) for system in (BASE, TUNED)]
    risen = (ranks[0] - ranks[1]).fillna(0)
    section.answer.append(
        f"By NDCG@10, which looks at the first 10 pages, {_counts(change)}; by the rank of the "
        f"first right page {_counts(risen)}."
    )
    names = (BASE, TUNED, TUNED + WITH_BM25, RERANKED)
    systems = [system for system in names if f"{system}.rank" in queries]
    section.plots.append(plots.ranks(queries, systems))


def _counts(change: pd.Series) -> str:
    """How many queries are better, worse and the same, as text; `change` is above 0 for better."""
    better, worse = int((change > 1e-9).sum()), int((change < -1e-9).sum())
    same = len(change) - better - worse
    return f"{better} queries are better than before, {worse} worse, {same} the same"


def _add_gains_by_group(section: Section, slices: pd.DataFrame) -> None:
    """Add the gain by kind of question, by kind of page and by document."""
    if slices.empty:
        section.answer.append("The queries carry no origin, kind or document to compare by.")
        return
    for by, name in (("origin", "kind of question"), ("kind", "kind of page")):
        rows = slices[slices["by"] == by]
        if len(rows) > 1:
            section.tables.append(_slice_table(f"By {name}", rows))
            labelled = rows.assign(label=rows["value"])
            title = f"Where tuning helps, by {name}"
            section.plots.append(plots.gains(labelled, f"gain_by_{by}", title))
    rows = slices[slices["by"] == "document_id"].sort_values("difference")
    if len(rows):
        # A document alone has no interval: leave out that column.
        table = _slice_table("By document, the greatest loss first", rows, columns=5)
        section.folded.append(table)


def _slice_table(caption: str, rows: pd.DataFrame, columns: int = 7) -> Table:
    """Queries, base, tuned, gain, interval and p-value by group, cut to `columns` columns."""
    header = ["", "queries", "base", "tuned", "gain", "95% interval", "p"]
    cells = [
        [str(row["value"]), count(row["queries"]), score(row["base"]), score(row["tuned"])]
        + gain_cells(row)
        for row in rows.to_dict("records")
    ]
    return Table(caption, header[:columns], [row[:columns] for row in cells])
