"""What became of every row of data/source: each has one fate, so that the counts add up."""

from collections.abc import Mapping

import pandas as pd

KEPT = "kept"
MERGED = "merged"  # with an identical page, question or judgement
QUARANTINED = "quarantined"  # itself, or the page or question of a judgement
UNJUDGED = "unjudged"  # a question without a page that answers it, and its judgements
LEAKED = "leaked"  # it would have shown one split what another one tests
BESIDE_CUT = "beside_cut"  # next to the place where a document was cut, or about such a page
OTHER_SPLIT = "negative_in_other_split"  # a given negative whose page belongs to another split
EVAL_ORIGIN = "not_for_eval"  # of an origin that queries.eval keeps out of eval

FATES = {
    "pages": (KEPT, MERGED, QUARANTINED, LEAKED, BESIDE_CUT),
    "queries": (KEPT, MERGED, QUARANTINED, UNJUDGED, LEAKED, BESIDE_CUT, EVAL_ORIGIN),
    "judgements": (
        *(KEPT, MERGED, QUARANTINED, UNJUDGED, LEAKED, BESIDE_CUT, OTHER_SPLIT, EVAL_ORIGIN),
    ),
}


def account(fates: Mapping[str, pd.Series]) -> dict[str, dict[str, int]]:
    """Number of rows of data/source by fate, for pages, queries and judgements.

    Args:
        fates: Key of FATES -> the fate of each row that the source gave.

    Returns:
        Key of FATES -> {source, and each of its fates}; `source` is the sum of the others.

    Raises:
        ValueError: a row has no fate that its table knows.
    """
    counts = {}
    for table, known in FATES.items():
        unknown = fates[table][~fates[table].isin(known)]
        if len(unknown):
            raise ValueError(f"{table} have no fate {unknown.iloc[0]!r}: the account would not add")
        found = fates[table].value_counts()
        # Named only where there are written questions, which no other run has.
        names = [name for name in known if name != EVAL_ORIGIN or name in found]
        by_fate = {name: int(found.get(name, 0)) for name in names}
        counts[table] = {"source": len(fates[table])} | by_fate
    return counts
