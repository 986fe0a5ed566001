"""Encode the eval pages again at smaller pixel budgets: what quality costs in visual tokens."""

from pathlib import Path

import pandas as pd

import stages
from pagefinder import layout
from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_csv
from pagefinder.errors import InputError
from pagefinder.evaluation import pixel_budgets
from pagefinder.params import Params
from pagefinder.retrieval.nearest import open_vectors
from pagefinder.retrieval.vector_search import task


def main(params: Params, root: Path = Path()) -> None:
    """Write metrics/plots/pixels.csv: one row for the pipeline's own budget and each extra one."""
    extra = {n: params.pixels.model_copy(update={"max": n}) for n in params.evaluate.pixel_budgets}
    floor = max(params.pixels.min, params.pixels.multiple**2)
    wrong = [n for n in extra if not floor <= n < params.pixels.max]
    if wrong:
        raise InputError(
            f"evaluate.pixel_budgets names {wrong[0]}: give budgets from {floor} to below "
            f"pixels.max {params.pixels.max}, at which the pages are stored"
        )
    test = task(Corpus(root / layout.CORPUS), "eval")
    vectors = open_vectors(root / layout.TUNED_VECTORS, test.corpus)
    queries = vectors.queries[test.query_rows]
    rows = [pixel_budgets.measure(test, params.pixels, queries, vectors.pages[test.page_rows])]
    for pixels in extra.values():
        pages = pixel_budgets.encode(params, pixels, test, root / layout.EMBEDDER, root)
        rows.append(pixel_budgets.measure(test, pixels, queries, pages))
    write_csv(pd.DataFrame(rows), root / layout.PLOTS / "pixels.csv", root)


if __name__ == "__main__":
    stages.run(main)
