"""Write the report: whether tuning helped, by how much, at what cost and on which queries."""

from pathlib import Path

from pagefinder import reporting
from pagefinder.layout import REPORT
from pagefinder.params import Params
from pagefinder.reporting.inputs import read_inputs
from pagefinder.runtime import outputs
from stages import run


def main(params: Params, root: Path = Path()) -> None:
    """Write metrics/report: index.html, report.md and the plots."""
    with outputs.output(root / REPORT, root) as folder:
        reporting.write(read_inputs(params, root), folder)


if __name__ == "__main__":
    run(main)
