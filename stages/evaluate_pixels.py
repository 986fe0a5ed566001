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
from pagefinder.retrieval.tasks import task_of
from pagefinder.retrieval.vectors import open_vectors


def main(params: Params, root: Path = Path()) -> None:
    """Measure how well smaller page images are found.

    Write metrics/plots/pixels.csv: a row for pixels.max and one for each smaller budget. There is
    none for a model that gets the text of pages.
    """
    if params.base.page_content == "text":
        nothing = pd.DataFrame(columns=pixel_budgets.COLUMNS)
        write_csv(nothing, root / layout.PLOTS / "pixels.csv", root)
        return
    pixels, base, compute = params.pixels, params.base, params.compute
    budgets = dict.fromkeys(params.evaluate.pixel_budgets)
    lowest = max(pixels.min, pixels.multiple**2)
    for budget in budgets:
        if not lowest <= budget < pixels.max:
            raise InputError(
                f"evaluate.pixel_budgets names {budget}: give budgets from {lowest} to below "
                f"pixels.max {pixels.max}, at which the pages are stored"
            )
    task = task_of(Corpus(root / layout.CORPUS, base.page_content), "eval")
    vectors = open_vectors(root / layout.TUNED_VECTORS, task.corpus)
    queries = vectors.queries[task.query_rows]
    # The first row reuses the stored vectors.
    rows = [pixel_budgets.measure(task, pixels, queries, vectors.pages[task.page_rows])]
    for budget in budgets:
        smaller = pixels.model_copy(update={"max": budget})
        embedder_folder = root / layout.EMBEDDER
        pages = pixel_budgets.encode(task, smaller, base, compute, embedder_folder, root)
        rows.append(pixel_budgets.measure(task, smaller, queries, pages))
    write_csv(pd.DataFrame(rows), root / layout.PLOTS / "pixels.csv", root)


if __name__ == "__main__":
    stages.run(main)
