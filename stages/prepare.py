"""Turn the originals into the corpus: check, merge, split, quarantine."""

import logging
from pathlib import Path

from pagefinder.data.files import write_json, write_table
from pagefinder.layout import CORPUS, METRICS, QUARANTINE, SOURCE, WRITTEN
from pagefinder.params import Params
from pagefinder.preparing.assemble import QUARANTINE_SCHEMA, prepare
from pagefinder.preparing.summary import sentence
from pagefinder.runtime import outputs
from pagefinder.sources import storing
from pagefinder.writing.written import read_written
from stages import resume_folder, run

log = logging.getLogger(__name__)


def main(params: Params, root: Path = Path()) -> None:
    """Write the corpus from data/source, the quarantine, and metrics/corpus.json."""
    # Pages that an interrupted run had prepared are reused while params and source are the same.
    knobs = (params.pixels, params.data.pdf.dpi, params.prepare.ocr)
    resume = resume_folder("prepare", knobs, [SOURCE / storing.PROVENANCE], root)
    # Texts of OCR stay: they cost seconds a page, and neither knobs nor other pages change them.
    texts = root / outputs.WORK / "ocr"
    with outputs.output(root / CORPUS, root) as target:
        written = read_written(root / WRITTEN)
        quarantine, metrics = prepare(root / SOURCE, target, resume, texts, params, written)
    with outputs.output(root / QUARANTINE, root) as path:
        write_table(quarantine, QUARANTINE_SCHEMA, path)
    write_json(metrics, root / METRICS / "corpus.json", root)
    outputs.remove(resume)
    log.info("%s", sentence(metrics))


if __name__ == "__main__":
    run(main)
