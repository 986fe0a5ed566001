"""Have a vision-language model write questions from the pages, and keep those to be trusted."""

from pathlib import Path

from pagefinder.data.files import write_json, write_table
from pagefinder.layout import METRICS, SOURCE, WRITTEN
from pagefinder.params import Params
from pagefinder.runtime import outputs
from pagefinder.writing import audit
from pagefinder.writing.client import ANSWERS
from pagefinder.writing.writer import Folders, write_questions
from pagefinder.writing.written import QUESTIONS, WRITTEN_SCHEMA
from stages import run, shared_work


def main(params: Params, root: Path = Path()) -> None:
    """Write data/written and metrics/written.json; empty where params name no writer."""
    work = shared_work(root)
    folders = Folders(root / SOURCE, work / ANSWERS, root / outputs.WORK / "pictures")
    rows, sheet, metrics = write_questions(folders, params)
    with outputs.output(root / WRITTEN, root) as folder:
        folder.mkdir(parents=True)
        write_table(rows, WRITTEN_SCHEMA, folder / QUESTIONS)
        write_table(sheet, audit.SHEET_SCHEMA, folder / audit.SHEET)
    write_json(metrics, root / METRICS / "written.json", root)


if __name__ == "__main__":
    run(main)
