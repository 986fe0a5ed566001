"""What ran: data, params that differ from the committed ones, versions, hardware settings."""

import json
import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from pagefinder.params import Params
from pagefinder.reporting.format import count, flat
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table

DEFAULTS = Path(__file__).parent / "defaults.json"
# What the report calls the fates of metrics/corpus.json.
FATES = {
    "source": "in the source",
    "kept": "in the corpus",
    "merged": "merged with an identical one",
    "quarantined": "in quarantine",
    "unjudged": "without a page that answers",
    "leaked": "left out, as another split tests it",
    "beside_cut": "left out beside a cut",
    "negative_in_other_split": "negatives left out, as their page is in another split",
}
LIBRARIES = ("torch", "transformers", "sentence-transformers", "datasets", "dvc")


def section(inputs: Inputs) -> Section:
    """Source, corpus, models, settings, changed params and versions of the run."""
    section = Section("ran", "What ran", "What ran?")
    source = inputs.provenance.get("source", inputs.params.data.source)
    commit = inputs.provenance.get("commit")
    at = f" ({inputs.params.data.hub.path} at commit {commit})" if commit else ""
    section.answer.append(
        f"Profile {inputs.params.profile}, seed {inputs.params.seed}, source {source}{at}."
    )
    section.tables.append(_splits(inputs))
    rows = [
        [name.replace("_", " ").replace(".", " · "), _number(value)]
        for name, value in flat(inputs.corpus_counts).items()
        if value != {} and not name.startswith("account.")
    ]
    if rows:
        section.folded.append(Table("Counts of the corpus", ["", ""], rows, words=True))
    _cuts(section, inputs.corpus_counts)
    _account(section, inputs.corpus_counts.get("account", {}))
    _quarantine(section, inputs.quarantined)
    _settings(section, inputs)
    _versions(section, inputs.requirements_lock)
    return section


def _splits(inputs: Inputs) -> Table:
    """Documents, pages and queries by split."""
    corpus = inputs.corpus
    rows = []
    for split in ("train", "dev", "eval"):
        page_rows = corpus.page_rows(split)
        # One column: the pages with their texts would be copied, as many as there are.
        documents = corpus.pages["document_id"].iloc[page_rows].nunique() or "–"
        queries = len(corpus.query_rows(split))
        rows.append([split, str(documents), count(len(page_rows)), count(queries)])
    return Table("The corpus", ["split", "documents", "pages", "queries"], rows)


def _cuts(section: Section, counts: Mapping[str, Any]) -> None:
    """Add how many documents stand in several splits, and why; `counts` as metrics/corpus.json."""
    documents = counts.get("documents", {})
    cut = documents.get("cut", 0)
    others = documents.get("asked_in_several_splits", 0) - cut
    if cut:
        section.answer.append(
            f"Whole documents would not fill the splits: {count(cut)} of them"
            f" {'is' if cut == 1 else 'are'} cut at sections."
        )
    if others > 0:
        section.answer.append(
            f"Questions of several splits ask about {count(others)} of the documents: the source"
            " itself splits its questions, not its documents."
        )


def _account(section: Section, account: Mapping[str, Mapping[str, int]]) -> None:
    """Add what became of the source's rows; `account` is that of metrics/corpus.json."""
    if not account:
        return
    fates = list(dict.fromkeys(name for counts in account.values() for name in counts))
    left_out = [name for name in fates if name not in ("source", "kept", "merged")]
    rows = sum(counts.get(name, 0) for counts in account.values() for name in left_out)
    if rows:
        section.answer.append(f"{count(rows)} rows of the source were left out, as listed.")
    else:
        section.answer.append("No row of the source had to be left out.")
    cells = [
        [FATES.get(name, name), *(_or_dash(counts.get(name)) for counts in account.values())]
        for name in fates
        if any(counts.get(name) for counts in account.values())
    ]
    section.tables.append(Table("What became of the source's rows", ["", *account], cells))


def _or_dash(number: int | None) -> str:
    """A number with thousands separated; a dash where a table knows no such fate."""
    return "–" if number is None else count(number)


def _quarantine(section: Section, rows: pd.DataFrame) -> None:
    """Add the number of entries in quarantine, by reason."""
    if rows.empty:
        return
    # A reason may go on after a colon with what concerns one row alone.
    reasons = rows["reason"].str.partition(":")[0].value_counts().sort_index()
    cells = [[str(reason), count(number)] for reason, number in reasons.items()]
    section.tables.append(Table("In quarantine, by reason", ["reason", "entries"], cells))


def _settings(section: Section, inputs: Inputs) -> None:
    """Add the models, what they run on, and the params that are not the committed ones."""
    compute, pixels = inputs.params.compute, inputs.params.pixels
    pages = inputs.corpus.pages
    tokens = pages["width"] * pages["height"] // pixels.multiple**2
    settings = {
        "embedder": inputs.params.base.model,
        "reranker": inputs.params.reranker.model or "none",
        "device": compute.device,
        "precision of training": compute.precision,
        "precision of scoring": compute.scoring,
        "attention kernel": compute.attention,
        "processes": compute.processes,
    }
    contents = {inputs.params.base.page_content}
    if inputs.params.reranker.model:
        contents.add(inputs.params.reranker.page_content)
    if contents != {"text"}:
        settings["visual tokens per page"] = _range(tokens)
        settings["pixels per page, at most"] = count(pixels.max)
    rows = [[name, str(value)] for name, value in settings.items()]
    section.tables.append(Table("Models and hardware, as set", ["", ""], rows, words=True))
    if "auto" in (compute.device, compute.precision, compute.scoring, compute.attention):
        section.answer.append("What `auto` came to is in the log of every stage with a model.")
    changed = differences(inputs.params)
    if changed:
        header = ["param", "committed", "this run"]
        rows = [list(change) for change in changed]
        caption = "Params that differ from the committed ones"
        section.tables.append(Table(caption, header, rows, words=True))
    else:
        section.answer.append("All params are as committed.")


def differences(params: Params) -> list[tuple[str, str, str]]:
    """Params that differ from the committed ones: name, committed value, this run's value.

    A profile that is not committed is compared with the one that the committed params choose.
    """
    content = json.loads(DEFAULTS.read_text(encoding="utf-8"))
    profiles, models, compared = (content.pop(k) for k in ("profiles", "compare_models", "compare"))
    content |= profiles.get(params.profile, profiles[content["profile"]])
    content["compare"] = {name: models[name] for name in compared}
    committed, current = flat(content), flat(params.model_dump(mode="json", exclude_unset=True))
    return [
        (name, _json(committed.get(name)), _json(current.get(name)))
        for name in committed | current
        if _or_none(committed.get(name)) != _or_none(current.get(name))
    ]


def _versions(section: Section, requirements: str) -> None:
    """Add the versions of Python and LIBRARIES: installed, and pinned by requirements.lock."""
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", requirements, flags=re.MULTILINE))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    rows = [["python", platform.python_version(), "–"]]
    for name in LIBRARIES:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = "not installed"
        rows.append([name, installed, pinned.get(name, "–")])
    header = ["library", "installed", "requirements.lock"]
    section.tables.append(Table("Versions", header, rows, words=True))


def _range(numbers: pd.Series) -> str:
    """The lowest, highest and median number as text; one number where all are equal."""
    if numbers.min() == numbers.max():
        return count(numbers.min())
    return f"{count(numbers.min())} to {count(numbers.max())}, median {count(numbers.median())}"


def _or_none(value: Any) -> Any:  # noqa: ANN401  # a param of any type
    """The value of a param; None where a compared model's optional key is left out or empty."""
    return None if value in ("", {}) else value


def _json(value: Any) -> str:  # noqa: ANN401  # a param of any type
    """A param as JSON; a dash for None or {}."""
    return "–" if value is None or value == {} else json.dumps(value)


def _number(value: Any) -> str:  # noqa: ANN401  # what corpus.json holds
    """A number with thousands separated where it is whole; another value as text."""
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return count(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
