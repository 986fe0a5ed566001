"""Checks of the knobs of sources, preparing and mining: what the tables then hold."""

import json
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow.ipc
import pytest
from knobs import obeys
from knobs_training import root
from sources import page, write_pdf
from test_mining import hand_made, mined, rule_by_page

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.layout import CORPUS, SOURCE
from pagefinder.mining import judging
from pagefinder.mining import veto as veto_
from pagefinder.mining.negatives import KEPT
from pagefinder.params import Params
from pagefinder.preparing import near_duplicates, ocr
from pagefinder.runtime import pool
from pagefinder.sources import hub
from pagefinder.sources.generated.reports import reports
from pagefinder.sources.generated.source import pages_and_queries
from stages import download, prepare

ROWS = 20


def of_source(params: Params, source: str, **changes: object) -> Params:
    """The params with another source; `changes` are further knobs of its section."""
    section = getattr(params.data, source).model_copy(update=changes)
    data = params.data.model_copy(update={"source": source, source: section})
    return params.model_copy(update={"data": data})


def write_rows(path: Path, rows=ROWS, start=0, names=("query", "image"), images=None, cells=None):
    """A JSONL table of questions, each with an image of its own.

    `names` are the two columns'; `images` the folder of the images, by default the table's; `cells`
    stand in each row.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(start, start + rows):
        ((images or path.parent) / f"{number}.png").write_bytes(page(number))
        text = f"question {number} of {path.stem}"
        row = dict(zip(names, (text, f"{number}.png"), strict=True)) | (cells or {})
        lines.append(json.dumps(row))
    path.write_text("\n".join(lines) + "\n")


def downloaded(params: Params, folder: Path) -> pd.DataFrame:
    """The queries of data/source."""
    download.main(params, folder)
    return pd.read_parquet(folder / SOURCE / "queries.parquet")


def prepared(params: Params, folder: Path) -> Corpus:
    if not (folder / "data/raw").exists():
        write_rows(folder / "data/raw/train.jsonl")
    params = of_source(params, "table") if params.data.source == "generated" else params
    download.main(params, folder)
    prepare.main(params, folder)
    return Corpus(folder / CORPUS)


def counts(params: Params, folder: Path) -> Counter:
    return Counter(prepared(params, folder).queries["split"])


@obeys("input", "elsewhere")
def _input(params, value, folder):
    write_rows(folder / value / "train.jsonl")
    assert len(downloaded(of_source(params, "table"), folder)) == ROWS


@obeys("data.source", "table")
def _source(params, value, folder):
    write_rows(folder / "data/raw/train.jsonl")
    few = params.data.generated.model_copy(update={"companies": 2, "years": 2})
    data = params.data.model_copy(update={"generated": few})
    assert len(downloaded(params.model_copy(update={"data": data}), folder)) == ROWS


@obeys("data.generated.companies", 3)
def _companies(params, value, folder):
    settings = params.data.generated.model_copy(update={"years": 2})
    assert len(reports(settings, 1)) == value * 2


@obeys("data.generated.years", 3)
def _years(params, value, folder):
    settings = params.data.generated.model_copy(update={"companies": 4})
    assert len(reports(settings, 1)) == 4 * value


@obeys("data.generated.eval_share", 0.7)
def _generated_eval_share(params, value, folder):
    settings = params.data.generated.model_copy(update={"companies": 10, "years": 2})
    splits = Counter(report.split for report in reports(settings, 1))
    assert abs(splits["eval"] / splits.total() - value) < 0.11


@obeys("data.generated.eval_queries", 2)
def _eval_queries(params, value, folder):
    settings = params.data.generated.model_copy(update={"companies": 3, "years": 2})
    asked = Counter(
        row[0].document_id
        for row in pages_and_queries(settings, 1)
        if row[0].split == "eval" and len(row) > 1
    )
    assert set(asked.values()) == {value}


@obeys("data.table.file", "b.jsonl")
def _file(params, value, folder):
    for name in ("a", "b"):
        write_rows(folder / f"data/raw/{name}.jsonl")
    texts = downloaded(of_source(params, "table"), folder)["text"]
    assert texts.str.endswith(" of b").all()


def columns(source: str):
    """Register the checks of the knobs that name columns, of a table or dataset."""

    def rows_of(params, folder, names=("query", "image"), cells=None):
        write_rows(folder / "data/raw/train.jsonl", names=names, cells=cells)
        changed = {"path": "data/raw/train.jsonl", "eval": ""} if source == "hub" else {}
        return downloaded(of_source(params, source, **changed), folder)

    @obeys(f"data.{source}.query", "question")
    def _query(params, value, folder):
        texts = rows_of(params, folder, (value, "image"), {"query": "not this"})["text"]
        assert texts.str.startswith("question").all()

    @obeys(f"data.{source}.image", "scan")
    def _image(params, value, folder):
        queries = rows_of(params, folder, ("query", value), {"image": "torn.png"})
        assert queries["problem"].isna().all()
        assert not any("torn" in str(problem) for problem in problems(folder))

    @obeys(f"data.{source}.negatives", "wrong_")
    def _negatives(params, value, folder):
        (folder / "data/raw").mkdir(parents=True)
        (folder / "data/raw/far.png").write_bytes(page(99))
        rows_of(params, folder, cells={f"{value}0": "far.png"})
        qrels = pd.read_parquet(folder / SOURCE / "qrels.parquet")
        assert Counter(qrels["relevance"]) == {1: ROWS, 0: ROWS}

    @obeys(f"data.{source}.allow_urls", True)
    def _allow_urls(params, value, folder):
        rows_of(params, folder, cells={"negative_0": "http://no.invalid/page.png"})
        urls = [problem for problem in problems(folder) if "no.invalid" in str(problem)]
        assert urls
        assert all("allow_urls is false" not in problem for problem in urls)

    @obeys(f"data.{source}.allow_private_urls", True)
    def _allow_private_urls(params, value, folder):
        section = getattr(params.data, source).model_copy(update={"allow_urls": True})
        data = params.data.model_copy(update={source: section})
        params = params.model_copy(update={"data": data})
        rows_of(params, folder, cells={"negative_0": "http://127.0.0.1:9/page.png"})
        assert all("URL failed" in problem for problem in problems(folder))

    @obeys(f"data.{source}.eval_share", 0.5)
    def _eval_share(params, value, folder):
        write_rows(folder / "data/raw/train.jsonl")
        changed = {"path": "data/raw/train.jsonl", "eval": ""} if source == "hub" else {}
        assert counts(of_source(params, source, **changed), folder)["eval"] == ROWS * value


def problems(folder: Path) -> list[str]:
    """The problems of the pages in data/source."""
    tables = []
    for path in sorted((folder / SOURCE).glob("pages-*.arrow")):
        with pyarrow.memory_map(str(path)) as mapped:
            tables += pyarrow.ipc.open_stream(mapped).read_all()["problem"].to_pylist()
    return [problem for problem in tables if problem]


columns("table")
columns("hub")


@obeys("data.table.eval", "test.jsonl")
def _table_eval(params, value, folder):
    write_rows(folder / "data/raw/train.jsonl")
    write_rows(folder / f"data/raw/{value}", rows=5, start=50)
    splits = Counter(downloaded(of_source(params, "table"), folder)["split"])
    assert splits["eval"] == 5


@obeys("data.hub.path", "set")
def _path(params, value, folder):
    write_rows(folder / value / "train.jsonl")
    assert len(downloaded(of_source(params, "hub", eval=""), folder)) == ROWS


def write_configs(folder: Path, *names: str) -> None:
    """A dataset with a config, a folder, of each name; its images lie at the top."""
    for number, name in enumerate(names):
        write_rows(folder / name / f"{name}.jsonl", start=100 * number, images=folder)


@obeys("data.hub.train", "mine")
def _hub_train(params, value, folder):
    write_configs(folder / "set", value, "train")
    texts = downloaded(of_source(params, "hub", path="set", eval=""), folder)["text"]
    assert texts.str.endswith(f" of {value}").all()


@obeys("data.hub.eval", "held")
def _hub_eval(params, value, folder):
    write_configs(folder / "set", "train", value, "eval")
    queries = downloaded(of_source(params, "hub", path="set"), folder).query("split == 'eval'")
    assert queries["text"].str.endswith(f" of {value}").all()


@obeys("data.hub.revision", "v9")
def _hub_revision(params, value, folder):
    with mock.patch.object(hub, "HfApi") as api, pytest.raises(InputError):
        api().dataset_info.side_effect = OSError("no network")
        download.main(of_source(params, "hub", path="org/name"), folder)
    assert api().dataset_info.call_args.kwargs["revision"] == value


def in_this_process():
    """Read PDF files without processes of their own, whose start takes seconds."""
    return mock.patch.object(pool, "run", lambda function, tasks, *_, **__: map(function, tasks))


def write_documents(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        subjects = [f"Subject {chr(97 + number)}{chr(97 + n)} matters" for n in range(4)]
        lines = {subject: [f"{subject} line {n}" for n in range(9)] for subject in subjects}
        pages = [[(subject, 20), *lines[subject]] for subject in subjects]
        outline = [(0, subject, n) for n, subject in enumerate(subjects)]
        write_pdf(folder / f"{number}.pdf", pages, outline, title=f"Manual {number}")


@obeys("data.pdf.eval_share", 0.5)
def _pdf_eval_share(params, value, folder):
    write_documents(folder / "data/raw", 10)
    with in_this_process():
        queries = counts(of_source(params, "pdf"), folder)
    assert abs(queries["eval"] / queries.total() - value) < 0.15


@obeys("data.pdf.dpi", 36)
def _dpi(params, value, folder):
    write_documents(folder / "data/raw", 4)
    large = params.pixels.model_copy(update={"max": 2_000_000})
    params = of_source(params.model_copy(update={"pixels": large}), "pdf")
    with in_this_process():
        corpus = prepared(params, folder)
    inches = np.array([595, 842]) / 72
    size = np.array(corpus.image(0).size)
    assert np.abs(size - inches * value).max() <= params.pixels.multiple / 2


@obeys("prepare.dev_share", 0.5)
def _dev_share(params, value, folder):
    queries = counts(params, folder)
    assert abs(queries["dev"] / (queries["dev"] + queries["train"]) - value) < 0.1


@obeys("prepare.max_quarantined", 0.6)
def _max_quarantined(params, value, folder):
    write_rows(folder / "data/raw/train.jsonl")
    for number in range(5):
        (folder / f"data/raw/{number}.png").write_bytes(b"torn")
    assert counts(params, folder).total() == ROWS - 5


def near_duplicate_search(params: Params, folder: Path) -> tuple:
    with mock.patch.object(near_duplicates, "find", wraps=near_duplicates.find) as find:
        prepared(params, folder)
    return find.call_args.args


@obeys("prepare.near_duplicate_distance", 9)
def _near_duplicate_distance(params, value, folder):
    assert near_duplicate_search(params, folder)[3] == value


@obeys("prepare.near_duplicate_pixels", 9.0)
def _near_duplicate_pixels(params, value, folder):
    assert near_duplicate_search(params, folder)[4] == value


@obeys("prepare.ocr", "auto")
def _ocr(params, value, folder):
    with mock.patch.object(ocr, "read_scans") as read_scans:
        prepared(params, folder)
    assert read_scans.called


def areas(params: Params, folder: Path, size: tuple[int, int]) -> np.ndarray:
    write_rows(folder / "data/raw/train.jsonl")
    for path in (folder / "data/raw").glob("*.png"):
        path.write_bytes(page(int(path.stem), size))
    pages = prepared(params, folder).pages
    return np.asarray(pages["width"] * pages["height"])


@obeys("pixels.max", 2048)
def _max(params, value, folder):
    assert areas(params, folder, (64, 96)).max() <= value


@obeys("pixels.min", 4096)
def _min(params, value, folder):
    assert areas(params, folder, (32, 32)).min() >= value


@obeys("pixels.multiple", 16)
def _multiple(params, value, folder):
    assert set(areas(params, folder, (3 * value, 4 * value))) == {12 * value**2}


def rules_applied(params: Params, folder: Path, veto=None) -> dict[str, str]:
    """The rule of each page of a small hand-made corpus."""
    corpus, vectors = hand_made(folder)
    return rule_by_page(corpus, vectors, params.mine, veto)


@obeys("mine.negatives", 3)
def _negatives(params, value, folder):
    assert Counter(rules_applied(params, folder).values())[KEPT] == value


@obeys("mine.near_duplicates", False)
def _near_duplicates(params, value, folder):
    assert rules_applied(params, folder)["p1"] != "near_duplicate"


@obeys("mine.same_document_pages", 2)
def _same_document_pages(params, value, folder):
    assert rules_applied(params, folder)["p2"] == "same_document"


@obeys("mine.range_min", 2)
def _range_min(params, value, folder):
    assert Counter(rules_applied(params, folder).values())["range_min"] == value


@obeys("mine.range_max", 3)
def _range_max(params, value, folder):
    dropped = ("positive", "near_duplicate")
    assert sum(rule not in dropped for rule in rules_applied(params, folder).values()) == value


@obeys("mine.relative_margin", 0.2)
def _relative_margin(params, value, folder):
    # The positive has 0.8: the margin lies at 0.64, between p5 (0.75) and p6 (0.6).
    by_page = rules_applied(params, folder)
    assert by_page["p5"] == "relative_margin"
    assert by_page["p6"] != "relative_margin"


@obeys("mine.max_score", 0.55)
def _max_score(params, value, folder):
    by_page = rules_applied(params, folder)
    assert by_page["p6"] == "max_score"  # 0.6
    assert by_page["p7"] != "max_score"  # 0.5


@obeys("mine.sampling", "random")
def _sampling(params, value, folder):
    # The nearest pages that no rule drops are p4, p5 and p6; seed 1 draws others.
    changed = params.mine.model_copy(update={"negatives": 3, "range_max": 50})
    corpus, vectors = hand_made(folder)
    by_page = rule_by_page(corpus, vectors, changed)
    assert {page_id for page_id, rule in by_page.items() if rule == KEPT} != {"p4", "p5", "p6"}


@obeys("mine.given", "ignore")
def _given(params, value, folder):
    # The source gives the farthest page, which no sampling by score would take.
    corpus, vectors = hand_made(folder, (("q", "p0", 1), ("q", "p9", 0)))
    pairs = mined(corpus, vectors, params.mine)
    assert 9 not in set(pairs.loc[pairs["rule"] == KEPT, "page"])


@obeys("mine.veto.max_score", 0.2)
def _veto_max_score(params, value, folder):
    by_page = rules_applied(params, folder, veto=lambda pairs: np.full(len(pairs), 0.3))
    assert KEPT not in by_page.values()


def veto_model(params: Params, folder: Path) -> tuple:
    """What open_veto opens, and what it then gives the check of the pixel budget: a page."""
    corpus = Corpus(root() / CORPUS)
    named = params.mine.veto.model_copy(update={"model": "some/model"})
    named = named if not params.mine.veto.model else params.mine.veto
    with (
        mock.patch("pagefinder.models.opening.open_reranker") as open_reranker,
        mock.patch("pagefinder.models.visual_tokens.check_budget") as check_budget,
        mock.patch("pagefinder.models.visual_tokens.on_own_grid"),
        mock.patch.object(Corpus, "page_inputs", lambda self, rows: [self.page_content]),
    ):
        veto = veto_.open_veto(named, corpus, params.pixels, params.compute, folder)
    section = open_reranker.call_args.args[0] if open_reranker.called else None
    return veto, section, check_budget.call_args


@obeys("mine.veto.model", "models/vlm")
def _veto_model(params, value, folder):
    corpus, _ = hand_made(folder)
    with pytest.raises(InputError, match=value):
        veto_.open_veto(params.mine.veto, corpus, params.pixels, params.compute, folder)


@obeys("mine.veto.revision", "v9")
def _veto_revision(params, value, folder):
    assert veto_model(params, folder)[1].revision == value


@obeys("mine.veto.instruction", "Is it so?")
def _veto_instruction(params, value, folder):
    assert veto_model(params, folder)[1].instruction == value


@obeys("mine.veto.judge", True)
def _veto_judge(params, value, folder):
    corpus, _ = hand_made(folder)
    with pytest.raises(InputError, match=r"mine.veto.judge .*queries.judge.url"):
        judging.open_vetoes(params, corpus, folder, folder)


@obeys("mine.veto.page_content", "text")
def _veto_page_content(params, value, folder):
    assert veto_model(params, folder)[2].args[1] == value
