"""Write one page: did tuning help, by how much, at what cost and on which queries."""

from pathlib import Path

import stages
from pagefinder import reporting, work
from pagefinder.corpus import Corpus
from pagefinder.params import Params
from pagefinder.reporting.inputs import Inputs


def inputs(params: Params, root: Path) -> Inputs:
    """The files of the run in `root`."""
    return Inputs(
        params=params,
        corpus=Corpus(root / stages.CORPUS),
        metrics=root / stages.METRICS,
        plots=root / stages.PLOTS,
        runs=root / stages.RUNS,
        per_query=root / stages.PER_QUERY,
        audit=root / stages.AUDIT,
        quarantine=root / stages.QUARANTINE,
        provenance=root / stages.SOURCE / "provenance.json",
        lock=root / "requirements.lock",
    )


def main(params: Params, root: Path = Path()) -> None:
    """Write metrics/report: index.html, report.md and the plots."""
    with work.output(root / stages.REPORT, root) as folder:
        reporting.write(inputs(params, root), folder)


if __name__ == "__main__":
    stages.run(main)
