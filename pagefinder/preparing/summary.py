"""What metrics/corpus.json says of a corpus: counts of what is in it and what is not."""

from collections import Counter
from typing import Any

import pandas as pd

from pagefinder.data.corpus import SPLITS
from pagefinder.preparing.leaks import Split


def corpus_metrics(split: Split, quarantine: pd.DataFrame, items: int) -> dict[str, Any]:
    """Counts for metrics/corpus.json.

    Args:
        split: The corpus as it is written.
        quarantine: origin, item and reason of each unusable page, query or qrel.
        items: Number of pages and queries that the source has.
    """
    pages, queries, grades = split.pages, split.queries, split.qrels["relevance"]
    reasons = Counter(reason.split(":")[0].replace(" ", "_") for reason in quarantine["reason"])
    documents = _documents_by_split(pages)
    answers = set(split.qrels.loc[grades > 0, "page_id"])
    asked = _documents_by_split(pages[pages["page_id"].isin(answers)])["document_id"]
    several = asked[asked.duplicated()]
    return {
        "pages": _by_split(pages)
        | {
            "with_text": int(pages["text_origin"].notna().sum()),
            "with_text_by_ocr": int((pages["text_origin"] == "ocr").sum()),
        },
        "queries": _by_split(queries),
        "documents": _by_split(documents)
        | {
            # By the pages that answer: one that the source puts beside them is a distractor.
            "asked_in_several_splits": several.nunique(),
            "cut": several[several.isin(split.cut_documents)].nunique(),
        },
        "origins": {str(name): _by_split(rows) for name, rows in queries.groupby("origin")},
        "kinds": {str(k): int(n) for k, n in sorted(Counter(pages["kind"].dropna()).items())},
        "qrels": {"positive": int((grades > 0).sum()), "negative": int((grades == 0).sum())},
        "quarantined": {
            "items": len(quarantine),
            "share": len(quarantine) / items if items else 0.0,
            "reasons": dict(sorted(reasons.items())),
        },
    }


def _documents_by_split(pages: pd.DataFrame) -> pd.DataFrame:
    """The first page of each document in each split that has pages of it."""
    return pages.dropna(subset="document_id").drop_duplicates(["split", "document_id"])


def sentence(metrics: dict[str, Any]) -> str:
    """The content of metrics/corpus.json in words, on one line for the log."""
    pages, queries, bad = metrics["pages"], metrics["queries"], metrics["quarantined"]
    fates = metrics["account"]["pages"]
    reasons = ", ".join(f"{count} {name}" for name, count in bad["reasons"].items())
    return (
        f"{sum(pages[name] for name in SPLITS)} pages, queries:"
        f" {', '.join(f'{queries[name]} {name}' for name in SPLITS)};"
        f" merged {fates['merged']} identical pages, dropped"
        f" {fates['leaked']} that stood in two splits, found"
        f" {metrics['near_duplicates']['pairs']} near-duplicate pairs;"
        f" quarantined {bad['items']}{f' ({reasons})' if reasons else ''}"
    )


def _by_split(rows: pd.DataFrame) -> dict[str, int]:
    """Number of rows of each split."""
    counts = rows["split"].value_counts()
    return {name: int(counts.get(name, 0)) for name in SPLITS}
