"""The report on questions that a model wrote: counts, costs, the sheet; nothing where none were."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
import report_inputs
from PIL import Image
from report_inputs import settings

from pagefinder.data import corpus
from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_table
from pagefinder.reporting.inputs import read_inputs
from pagefinder.reporting.sections import written
from pagefinder.writing import audit, filters
from pagefinder.writing.written import WRITTEN_SCHEMA
from stages import report

ROWS = [
    ("How tight are the bolts of the X200?", "a", "factual", None, {"language": "passed"}),
    ("What does <b>this</b> figure show?", "a", "figure", "stands_alone", {"stands_alone": "no!"}),
    ("bolts X200", "b", "keyword", None, {}),
]


def rows(times: int = 1) -> pd.DataFrame:
    """Written questions as the stage writes them."""
    columns = ["text", "page", "kind", "dropped_by", "verdicts"]
    table = pd.DataFrame(ROWS * times, columns=columns)
    table["verdicts"] = [list(verdicts.items()) for verdicts in table["verdicts"]]
    more = {"language": "en", "answer": "45 Nm", "evidence": "torque: 45 Nm"}
    empty = pd.Series([[] for _ in range(len(table))], dtype=object)
    return table.assign(**more, possible_pages=empty)[WRITTEN_SCHEMA.names]


class Pictures:
    """A page `b` cannot be read."""

    def __init__(self) -> None:
        self.made: set[str] = set()

    def make(self, pages) -> None:
        self.made |= set(pages)

    def identity(self, page: str) -> str:
        return page

    def png(self, page: str) -> bytes | None:
        assert page in self.made
        if page == "b":
            return None
        buffer = io.BytesIO()
        Image.new("RGB", (1700, 2200), "white").save(buffer, "PNG")
        return buffer.getvalue()


def test_the_sheet_draws_by_seed_from_kept_and_dropped() -> None:
    many = rows(40).assign(answer=[str(number) for number in range(120)])
    first, again, other = (audit.sheet(many, Pictures(), seed) for seed in (1, 1, 2))
    assert len(first) == audit.QUESTIONS == 30
    pd.testing.assert_frame_equal(first, again)
    assert first["answer"].to_list() != other["answer"].to_list()
    assert first["dropped_by"].notna().any()
    assert first["dropped_by"].isna().any()


def test_the_sheet_holds_small_pictures_and_survives_its_file(tmp_path) -> None:
    sheet = audit.sheet(rows(), Pictures(), seed=1)
    write_table(sheet, audit.SHEET_SCHEMA, tmp_path / "sheet.parquet")
    read = pd.read_parquet(tmp_path / "sheet.parquet").set_index("text")
    assert Image.open(io.BytesIO(read.loc[ROWS[0][0], "picture"])).size == (618, 800)
    assert read.loc["bolts X200", "picture"] is None


def test_no_question_makes_an_empty_sheet(tmp_path) -> None:
    sheet = audit.sheet(rows()[:0], Pictures(), seed=1)
    write_table(sheet, audit.SHEET_SCHEMA, tmp_path / "sheet.parquet")
    assert pd.read_parquet(tmp_path / "sheet.parquet").empty


def write_written(root: Path, table: pd.DataFrame) -> None:
    """What the stage write_queries leaves for the report."""
    kept = table[table["dropped_by"].isna()]
    by_kind = {str(kind): int(n) for kind, n in kept["kind"].value_counts().items()}
    step = {"requests": 9, "cached": 4, "retried": 1, "tokens_in": 9000, "tokens_out": 450}
    metrics = {
        "pages": 2,
        "questions": {"written": len(table), "kept": len(kept), "kept_by_kind": by_kind},
        "filters": filters.counts(table),
        "requests": {"write": step | {"failures": {"cut_off": 2}}},
    }
    (root / "metrics").mkdir(exist_ok=True)
    (root / "metrics/written.json").write_text(json.dumps(metrics))
    (root / "data/written").mkdir(parents=True)
    sheet = audit.sheet(table, Pictures(), seed=1)
    write_table(sheet, audit.SHEET_SCHEMA, root / "data/written" / audit.SHEET)


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> Path:
    root = report_inputs.write(tmp_path_factory.mktemp("written"), full=False)
    write_written(root, rows())
    report.main(settings(), root)
    return root


def test_the_report_counts_questions_by_filter_and_shows_the_sheet(reported) -> None:
    page = (reported / "metrics/report/index.html").read_text(encoding="utf-8")
    assert "A model wrote 3 questions about 2 pages; 2 (67%) passed every filter" in page
    assert "What does &lt;b&gt;this&lt;/b&gt; figure show?" in page
    assert "Dropped by stands alone." in page
    assert "stands alone: no!" in page
    assert "Answer: 45 Nm. Proof: torque: 45 Nm" in page
    assert "2 cut off" in page
    assert page.count("data:image/jpeg;base64,") >= 1
    assert "written b is not in the corpus" not in page
    text = (reported / "metrics/report/report.md").read_text(encoding="utf-8")
    assert "| stands alone | 1 | 1 | 1 |" in text


def test_a_report_without_written_questions_does_not_speak_of_them(tmp_path) -> None:
    root = report_inputs.write(tmp_path, full=False)
    inputs = read_inputs(settings(), root)
    assert written.section(inputs) is None
    report.main(settings(), root)
    page = (root / "metrics/report/index.html").read_text(encoding="utf-8")
    assert "ritten questions" not in page


@pytest.mark.parametrize("split", ["train", "eval"])
def test_the_report_says_whose_taste_eval_measures(tmp_path, split) -> None:
    root = report_inputs.write(tmp_path, full=False)
    write_written(root, rows())
    table = Corpus(root / "data/corpus").queries
    table.loc[0, ["origin", "split"]] = ["written", split]
    write_table(table, corpus.QUERY_SCHEMA, root / "data/corpus" / corpus.QUERIES)
    section = written.section(read_inputs(settings(), root))
    assert any("that model's taste" in sentence for sentence in section.answer) == (split == "eval")
    assert any("None is in eval" in sentence for sentence in section.answer) == (split != "eval")
