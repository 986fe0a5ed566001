"""What the models learned from and how it went: negatives and training curves."""

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from pagefinder.reporting import figures
from pagefinder.reporting.figures import BLUE, GREEN, GREY, INK, NDCG, ORANGE, RED, Plot
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table
from pagefinder.reporting.words import count, score


def training(inputs: Inputs) -> Section:
    """Training curves."""
    section = Section("training", "How did training go?")
    for model in ("embedder", "reranker"):
        curves = inputs.curves(model)
        if curves.empty:
            section.answer.append(f"The {model} was not trained: there is no curve.")
            continue
        for metric in ("loss", "dev_ndcg@10"):
            if (curves["metric"] == metric).any():
                section.plots.append(_curve_plot(curves, metric, model))
        dev = curves[curves["metric"] == "dev_ndcg@10"]
        if len(dev):
            kept = _kept(dev).iloc[0]
            steps = f"step {count(kept['step'])} of {count(curves['step'].max())}"
            section.answer.append(
                f"The {model}'s dev NDCG@10 starts at {score(dev['value'].iloc[0])}; the "
                f"checkpoint that is kept, {steps}, has {score(kept['value'])}."
            )
    return section


def negatives(inputs: Inputs) -> Section:
    """Were the negatives sound: counts and histograms; the contact sheet is the gallery's."""
    section = Section("negatives", "Were the negatives sound?")
    metrics = inputs.mining
    if not metrics:
        section.answer.append("No negatives were mined.")
        return section
    queries, kept = metrics["queries"], metrics["kept"]
    section.answer.append(
        f"For {count(queries['mined'])} train queries {count(kept['mined'])} negatives were mined "
        f"and {count(kept['given'])} of the source's own kept; {count(queries['short'])} queries "
        f"got fewer than asked for, {count(queries['without'])} of them none."
    )
    hidden, known = metrics.get("hidden_positives"), metrics.get("false_negatives")
    if known:
        section.answer.append(
            "The pages are drawn, so every right page is known: they made up "
            f"{known['before']:.2%} of what the search found and {known.get('kept', 0):.2%} of "
            "what was kept. The rule `positive` alone removes them here; what the other rules "
            "dropped were no answers, and would have been safe to keep."
        )
    elif hidden:
        rates = hidden["rate"]
        section.answer.append(
            f"Right pages that were hidden on purpose made up {rates['before']:.2%} of what the "
            f"search found and {rates.get('kept', 0):.2%} of what was kept: the share of false "
            "negatives to expect where only one right page is known."
        )
    else:
        section.answer.append(
            "No train query has several right pages, so false negatives cannot be counted; judge "
            "by the sheet below."
        )
    dropped = dict(metrics["dropped"])
    given = dropped.pop("given")
    dropped |= {f"given by the source: {rule}": number for rule, number in given.items()}
    rows = [[rule.replace("_", " "), count(n)] for rule, n in dropped.items() if n]
    rows.append(["passed every rule, not needed", count(metrics["spare"])])
    section.tables.append(Table("Pages left out, by rule", ["rule", "pairs"], rows))
    if not inputs.scores.empty:
        section.plots.append(_score_plot(inputs.scores))
    if not inputs.ranks.empty:
        section.plots.append(_rank_plot(inputs.ranks))
    if inputs.sheet.empty:
        section.answer.append("The audit sampled no query: there is no sheet.")
    return section


def _curve_plot(curves: pd.DataFrame, metric: str, model: str) -> Plot:
    """One curve of a training: the loss, or NDCG@10 on the development split."""
    is_loss = metric == "loss"
    figure, plot = figures.axes(
        f"{model.capitalize()}: {'training loss' if is_loss else 'score on the dev split'}",
        "optimizer step",
        "loss (nats)" if is_loss else NDCG,
        height=2.9,
    )
    part = curves[curves["metric"] == metric].sort_values("step")
    if is_loss:
        plot.plot(part["step"], part["value"], color=GREY, linewidth=1, label="logged")
        smooth = part["value"].ewm(span=8).mean()
        plot.plot(part["step"], smooth, color=BLUE, label="smoothed")
    else:
        plot.plot(part["step"], part["value"], "-o", color=BLUE, label="dev")
        kept = _kept(part)
        plot.plot(kept["step"], kept["value"], "*", color=RED, markersize=16, label="kept")
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    figures.legend(plot)
    kind = "loss" if is_loss else "dev"
    return figures.finish(figure, f"training_{model}_{kind}")


def _kept(dev: pd.DataFrame) -> pd.DataFrame:
    """The row of the checkpoint that training keeps: the best, the untrained start set aside."""
    trained = dev[dev["step"] > 0]
    rows = trained if len(trained) else dev
    return rows.loc[[rows["value"].idxmax()]]


def _score_plot(scores: pd.DataFrame) -> Plot:
    """How near positives, kept and dropped pages are to their queries."""
    figure, plot = figures.axes(
        "How hard are the negatives?",
        "cosine of query and page, base embedder",
        "pairs (log scale)",
    )
    group = scores["group"].where(scores["group"].isin(("positive", "kept", "spare")), "dropped")
    looks = {
        "positive": (GREEN, "-"),
        "kept": (BLUE, "--"),
        "dropped": (RED, ":"),
        "spare": (GREY, "-."),
    }
    names = {"spare": "passed, not needed"}
    for name, (colour, line) in looks.items():
        part = scores[group == name].groupby("score")["pairs"].sum()
        if part.empty:
            continue
        steps = part.reindex(
            np.round(np.arange(part.index.min(), part.index.max() + 0.03, 0.02), 2)
        )
        plot.step(
            steps.index,
            steps.fillna(0).clip(lower=0.5),
            line,
            where="post",
            color=colour,
            label=names.get(name, name),
        )
    plot.set_yscale("log")
    figures.legend(plot, 4)
    return figures.finish(figure, "mined_scores")


def _rank_plot(ranks: pd.DataFrame) -> Plot:
    """How much higher the right page stands for queries that the embedder was trained on."""
    figure, plot = figures.axes(
        "Does the reranker train on what it meets?",
        "tuned embedder's rank of the right page (0: not found)",
        "share of queries (%, log scale)",
    )
    for number, (split, colour, hatch) in enumerate((("train", ORANGE, "//"), ("dev", BLUE, ""))):
        part = ranks[ranks["split"] == split]
        plot.bar(
            part["rank"] + (number - 0.5) * 0.4,
            part["share"] * 100,
            0.4,
            color=colour,
            hatch=hatch,
            edgecolor=INK,
            linewidth=0.4,
            label=split,
        )
    plot.set_yscale("log")
    plot.grid(axis="x", visible=False)
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    figures.legend(plot)
    return figures.finish(figure, "candidate_ranks")
