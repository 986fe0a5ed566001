"""Write one page: did tuning help, by how much, at what cost and on which queries."""

from pathlib import Path

import stages
from pagefinder import layout, reporting
from pagefinder.data.corpus import Corpus
from pagefinder.params import Params
from pagefinder.reporting.inputs import Inputs
from pagefinder.runtime import outputs


def inputs(params: Params, root: Path) -> Inputs:
    """The files of the run in `root`."""
    return Inputs(
        params=params,
        corpus=Corpus(root / layout.CORPUS),
        metrics=root / layout.METRICS,
        plots=root / layout.PLOTS,
        runs=root / layout.RUNS,
        per_query=root / layout.PER_QUERY,
        audit=root / layout.AUDIT,
        quarantine=root / layout.QUARANTINE,
        provenance=root / layout.SOURCE / "provenance.json",
        lock=root / "requirements.lock",
    )


def main(params: Params, root: Path = Path()) -> None:
    """Write metrics/report: index.html, report.md and the plots."""
    with outputs.output(root / layout.REPORT, root) as folder:
        reporting.write(inputs(params, root), folder)


if __name__ == "__main__":
    stages.run(main)
