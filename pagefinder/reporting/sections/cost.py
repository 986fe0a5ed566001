"""What each dimension, precision and pixel budget costs."""

from collections.abc import Mapping
from typing import Any

from pagefinder.reporting import plots
from pagefinder.reporting.format import count, gained, precision_label, score
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table
from pagefinder.systems import BASE, RECOMMENDABLE, TUNED, TUNED_AT


def section(inputs: Inputs) -> Section:
    """The recommended dimension, and NDCG@10 by dimension, precision and pixel budget."""
    section = Section("cost", "Dimensions", "What does a shorter or coarser vector cost?")
    metrics = inputs.dimensions
    if not metrics:
        section.answer.append("No dimension was measured.")
        return section
    recommended = int(metrics["recommended"]["dimension"])
    section.answer.append(_recommendation(inputs, recommended))
    if "beats_base" in metrics:
        smallest = metrics["beats_base"]["dimension"]
        section.answer.append(
            f"Cut to {smallest} dimensions it still scores above the base at full length"
            f"{_gain_clause(inputs, BASE, smallest)}."
        )
    else:
        section.answer.append(
            "At no dimension does the tuned model score above the base at full length."
        )
    section.tables += [
        _dimension_table(metrics, recommended),
        _precision_table(metrics["precision"], recommended),
    ]
    section.answer.append(_precision(metrics))
    if "int8" in metrics["precision"]:
        section.answer.append(_precisions(100 * inputs.params.evaluate.rescore))
    else:
        section.answer.append("There are no train pages to set int8 ranges on: it is left out.")
    grid = inputs.grid
    if not grid.empty:
        section.plots += [plots.dimensions(grid, recommended), plots.pareto(grid, recommended)]
    _budgets(section, inputs)
    return section


def _recommendation(inputs: Inputs, recommended: int) -> str:
    """The sentences on the recommended dimension: why this one, how surely, what it loses."""
    full = max(map(int, inputs.dimensions["dims"]))
    loss = inputs.dimensions["recommended"]["loss"]
    verb = "gains" if loss < 0 else "loses"
    share = "none" if recommended == full else f"{abs(loss):.1%}"
    return (
        f"Recommended: {recommended} dimensions, {count(4 * recommended)} bytes a page as float32. "
        f"{_choice(inputs, recommended)} On the eval split it {verb} {share} of NDCG@10 against "
        f"all {full} dimensions{_gain_clause(inputs, TUNED, recommended)}."
    )


def _choice(inputs: Inputs, recommended: int) -> str:
    """Why dev chose the recommended dimension, and how surely."""
    dev = inputs.dimensions.get("dev", {})
    at = dev.get(str(recommended), {})
    if "share" not in at:
        return "Dev has too few documents to show what a cut costs: nothing is cut."
    tolerance = f"{inputs.params.evaluate.tolerance:.0%}"
    return (
        f"It is the smallest of which dev shows, with 95% confidence over its documents, that it "
        f"loses at most {tolerance} of NDCG@10: there it loses {at['loss']:.1%}, and at most "
        f"{at['high']:.1%}. Of resampled dev sets {at['share']:.0%} choose it again."
    )


def _precision(metrics: Mapping[str, Any]) -> str:
    """Which precision dev recommends for an index, and what it costs."""
    recommended = metrics["recommended"]
    dimension, name = str(recommended["dimension"]), RECOMMENDABLE[recommended["bits"]]
    label, loss = precision_label(name), metrics["dev_precision"][name]
    if "high" not in loss:
        return f"Dev has too few documents to show what a coarser index costs: {label}."
    at = metrics["precision"][name][dimension]
    return (
        f"By the same rule dev recommends {label} for an index, {count(at['bytes_per_page'])} "
        f"bytes a page: cut and precision together lose {loss['loss']:.1%} there, and at most "
        f"{loss['high']:.1%}; on the eval split it scores {score(at['ndcg@10'])}."
    )


def _precisions(shortlist: int) -> str:
    """What the columns of the table of precisions are; `shortlist` pages are rescored."""
    return (
        "int8 keeps a page's numbers rounded to one byte, over the range that each dimension has "
        "on train pages, and compares them with float questions. int8, truncated is what "
        "`quantize_embeddings` of Sentence Transformers makes of questions and pages with the same "
        "ranges, compared code with code. binary keeps signs and compares signs; rescored, the "
        f"first {count(shortlist)} pages are compared once more, with float questions."
    )


def _gain_clause(inputs: Inputs, before: str, dimension: int) -> str:
    """The gain over `before` of the tuned embedder cut to a dimension, after a colon.

    "" where the two were not compared.
    """
    gain = inputs.gain(before, f"{TUNED_AT}{dimension}")
    return f": {gained(gain)}" if gain else ""


def _dimension_table(metrics: Mapping[str, Any], recommended: int) -> Table:
    """NDCG@10 of base and tuned by dimension, and what dev made of each.

    `metrics` is the content of metrics/dimensions.json.
    """
    dims, dev = metrics["dims"], metrics.get("dev", {})
    rows = [
        [name, score(at[BASE]["ndcg@10"]), score(at[TUNED]["ndcg@10"]), count(4 * int(name))]
        for name, at in dims.items()
    ]
    header = ["dimensions", "base", "tuned", "bytes as float32"]
    if any("share" in at for at in dev.values()):
        header += ["lost on dev", "at most", "chosen by"]
        for row in rows:
            row += [f"{dev[row[0]][key]:.1%}" for key in ("loss", "high", "share")]
    caption = "NDCG@10 by dimension (recommended marked)"
    return Table(caption, header, rows, _marked(list(dims), recommended))


def _precision_table(precisions: Mapping[str, Any], recommended: int) -> Table:
    """NDCG@10 and bytes by dimension and precision, as in metrics/dimensions.json."""
    header = ["dimensions", *map(precision_label, precisions)]
    dims = list(next(iter(precisions.values())))
    rows = [
        [dimension]
        + [
            f"{score(at[dimension]['ndcg@10'])} · {count(at[dimension]['bytes_per_page'])} B"
            for at in precisions.values()
        ]
        for dimension in dims
    ]
    caption = "Tuned: NDCG@10 and bytes per page, by precision"
    return Table(caption, header, rows, _marked(dims, recommended), wide=True)


def _marked(dims: list[str], recommended: int) -> frozenset[int]:
    """The number of the row of the recommended dimension."""
    return frozenset(row for row, dimension in enumerate(dims) if int(dimension) == recommended)


def _budgets(section: Section, inputs: Inputs) -> None:
    """Add NDCG@10 by pixel budget, or a sentence where only the pipeline's own was measured."""
    if inputs.params.base.page_content == "text":
        section.answer.append("The embedder reads the text of pages: no pixel budget was measured.")
        return
    budgets = inputs.pixel_budgets
    if len(budgets) < 2:
        section.answer.append(
            "Only one pixel budget was measured: name others under `evaluate.pixel_budgets`."
        )
        return
    rows = [
        [count(row["max_pixels"]), f"{row['tokens_per_page']:.0f}", score(row["ndcg@10"])]
        for row in budgets.to_dict("records")
    ]
    header = ["pixels per page, at most", "visual tokens per page", "NDCG@10"]
    section.tables.append(Table("Tuned, by pixel budget", header, rows))
    section.plots.append(plots.budgets(budgets))
