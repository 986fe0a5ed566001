"""What ran: data, params that differ from the committed ones, versions, hardware settings."""

import json
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from pagefinder.params import Params
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table
from pagefinder.reporting.words import count, flat

DEFAULTS = Path(__file__).parent / "defaults.json"
LIBRARIES = ("torch", "transformers", "sentence-transformers", "datasets", "dvc")


def what_ran(inputs: Inputs) -> Section:
    """What ran."""
    section = Section("ran", "What ran?")
    source = inputs.source.get("source", inputs.params.data.source)
    commit = inputs.source.get("commit")
    at = f" ({inputs.params.data.hub.path} at commit {commit})" if commit else ""
    section.answer.append(
        f"Profile {inputs.params.profile}, seed {inputs.params.seed}, source {source}{at}."
    )
    section.tables.append(_splits(inputs))
    counts = {name: n for name, n in flat(inputs.counts).items() if n != {}}
    if counts:
        rows = [
            [name.replace("_", " ").replace(".", " · "), _number(n)] for name, n in counts.items()
        ]
        section.more.append(Table("Counts of the corpus", ["", ""], rows))
    _quarantine(section, inputs.quarantined)
    _settings(section, inputs)
    _versions(section, inputs.lock)
    return section


def _splits(inputs: Inputs) -> Table:
    corpus = inputs.corpus
    rows = []
    for split in ("train", "dev", "eval"):
        pages = corpus.pages.iloc[corpus.page_rows(split)]
        documents = pages["document_id"].nunique() or "–"
        rows.append(
            [split, str(documents), count(len(pages)), count(len(corpus.query_rows(split)))]
        )
    return Table("The corpus", ["split", "documents", "pages", "queries"], rows)


def _quarantine(section: Section, rows: pd.DataFrame) -> None:
    if rows.empty:
        section.answer.append("No row of the source had to be left out.")
        return
    # A reason may go on after a colon with what concerns one row alone.
    reasons = rows["reason"].str.partition(":")[0].value_counts().sort_index()
    cells = [[str(reason), count(number)] for reason, number in reasons.items()]
    section.answer.append(f"{count(len(rows))} rows of the source were left out, as listed.")
    section.tables.append(Table("Left out, by reason", ["reason", "rows"], cells))


def _settings(section: Section, inputs: Inputs) -> None:
    compute, pixels = inputs.params.compute, inputs.params.pixels
    pages = inputs.corpus.pages
    tokens = pages["width"] * pages["height"] // pixels.multiple**2
    said = {
        "embedder": inputs.params.base.model,
        "reranker": inputs.params.reranker.model,
        "device": compute.device,
        "precision of training": compute.precision,
        "precision of scoring": compute.scoring,
        "attention kernel": compute.attention,
        "processes": compute.processes,
        "visual tokens per page": _range(tokens),
        "pixels per page, at most": count(pixels.max),
    }
    rows = [[name, str(value)] for name, value in said.items()]
    section.tables.append(Table("Models and hardware, as set", ["", ""], rows))
    if "auto" in (compute.device, compute.precision, compute.scoring, compute.attention):
        section.answer.append("What `auto` came to is in the log of every stage with a model.")
    changed = differences(inputs.params)
    if changed:
        header = ["param", "committed", "this run"]
        rows = [list(change) for change in changed]
        section.tables.append(Table("Params that differ from the committed ones", header, rows))
    else:
        section.answer.append("All params are as committed.")


def differences(params: Params) -> list[tuple[str, str, str]]:
    """Params whose value is not the committed one: name, committed, this run's.

    A profile that is not among the committed ones is compared with the committed choice.
    """
    committed = json.loads(DEFAULTS.read_text(encoding="utf-8"))
    profiles, chosen = committed.pop("profiles"), committed["profile"]
    models, compared = committed.pop("compare_models"), committed.pop("compare")
    committed |= profiles.get(params.profile, profiles[chosen])
    committed["compare"] = {name: models[name] for name in compared}
    ours, theirs = flat(params.model_dump(mode="json")), flat(committed)
    names = [*theirs, *(name for name in ours if name not in theirs)]
    return [
        (name, _value(theirs.get(name)), _value(ours.get(name)))
        for name in names
        if _given(ours.get(name)) != _given(theirs.get(name))
    ]


def _versions(section: Section, lock: Path) -> None:
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE))
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    rows = [["python", platform.python_version(), "–"]]
    for name in LIBRARIES:
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed = "not installed"
        rows.append([name, installed, pinned.get(name, "–")])
    section.tables.append(Table("Versions", ["library", "installed", "requirements.lock"], rows))


def _range(numbers: pd.Series) -> str:
    if numbers.min() == numbers.max():
        return count(numbers.min())
    return f"{count(numbers.min())} to {count(numbers.max())}, median {count(numbers.median())}"


def _given(value: Any) -> Any:  # noqa: ANN401  # a param of any type
    """An optional key of a compared model may be left out or empty: that is the same."""
    return None if value in ("", {}) else value


def _value(value: Any) -> str:  # noqa: ANN401  # a param of any type
    return "–" if value is None or value == {} else json.dumps(value)


def _number(value: Any) -> str:  # noqa: ANN401  # what corpus.json holds
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return count(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
