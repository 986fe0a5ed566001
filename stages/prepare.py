"""Turn the originals into the corpus: check, merge, split, quarantine."""

import logging
from pathlib import Path

from pagefinder import corpus, pixels, preparing, work
from pagefinder.params import Params
from pagefinder.preparing import assemble
from pagefinder.sources import storing
from stages import CORPUS, METRICS, QUARANTINE, SOURCE, run

log = logging.getLogger(__name__)


def main(params: Params, root: Path = Path()) -> None:
    """Write the corpus, the quarantine and their summary."""
    code = [Path(pixels.__file__), *sorted(Path(preparing.__file__).parent.glob("*.py"))]
    key = storing.fingerprint(
        params.pixels.model_dump(), params.data.pdf.dpi, root / SOURCE / storing.PROVENANCE, *code
    )
    scratch = root / work.WORK / f"prepare-{key}"
    with work.output(root / CORPUS, root) as target:
        done = assemble.prepare(root / SOURCE, target, scratch, params)
    with work.output(root / QUARANTINE, root) as path:
        corpus.write_table(done.quarantine, assemble.QUARANTINE_SCHEMA, path)
    work.write_json(root / METRICS / "corpus.json", done.metrics, root)
    work.remove(scratch)
    log.info("%s", assemble.sentence(done.metrics))


if __name__ == "__main__":
    run(main)
