"""Mining: every rule against hand-computed pairs, the library's own miner, the two stages."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from corpora import write_corpus

from pagefinder import params, params_file
from pagefinder.layout import (
    AUDIT,
    BASE_VECTORS,
    CANDIDATES,
    CORPUS,
    FIRST_STAGE,
    METRICS,
    NEGATIVES,
    TUNED_VECTORS,
)
from pagefinder.mining import audit, candidates, negatives
from pagefinder.mining.negatives import KEPT, SPARE, Mining, choose, mine, required_negatives
from pagefinder.mining.pairs import qrel_rows, with_ids
from pagefinder.mining.rules import exclusions, resolve_rules
from pagefinder.retrieval.vectors import Vectors
from stages.candidates import main as make_candidates
from stages.mine import main as make_negatives

ROOT = Path(__file__).parents[2]


def rules(**changed):
    plain = {
        "negatives": 2,
        "near_duplicates": True,
        "same_document_pages": 0,
        "range_min": 0,
        "range_max": 50,
        "relative_margin": 0.0,
        "max_score": 1.0,
        "veto": {
            "model": "",
            "revision": "",
            "page_content": "image",
            "instruction": "",
            "max_score": 0.5,
            "judge": False,
        },
        "sampling": "top",
        "given": "mix",
    }
    return params.Mine.model_validate(plain | changed)


# One query along the first axis; page i has this cosine with it.
COSINES = [0.8, 0.95, 0.79, 0.77, 0.76, 0.75, 0.6, 0.5, 0.9, -0.1]
#        answer  twin  near  far  over  just below  plain   dev  against


def scored(cosines) -> np.ndarray:
    cosines = np.array(cosines, np.float64)
    return np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)


def hand_made(tmp_path: Path, qrels=(("q", "p0", 1),), near_duplicates=(("p0", "p1"),)):
    pages = [
        {"page_id": f"p{row}", "split": "dev" if row == 8 else "train"}
        for row in range(len(COSINES))
    ]
    pages[0] |= {"document_id": "d", "page_number": 5}
    pages[2] |= {"document_id": "d", "page_number": 7}
    pages[3] |= {"document_id": "d", "page_number": 8}
    pages[4] |= {"document_id": "e", "page_number": 6}
    corpus = write_corpus(
        tmp_path / "corpus", pages, [{"query_id": "q"}], list(qrels), near_duplicates
    )
    return corpus, Vectors(np.array([[1, 0]], np.float32), scored(COSINES))


def mining(corpus, settings, veto=None) -> Mining:
    return Mining(corpus, settings, qrel_rows(corpus, "train"), seed=1, veto=veto)


def mined(corpus, vectors, settings, veto=None) -> pd.DataFrame:
    """The pairs of all train queries, with their rules."""
    what = mining(corpus, settings, veto)
    return mine(what, vectors, required_negatives(what.qrels, settings.negatives))


def rule_by_page(corpus, vectors, settings, veto=None) -> dict[str, str]:
    pairs = mined(corpus, vectors, settings, veto)
    return {f"p{page}": rule for page, rule in zip(pairs["page"], pairs["rule"], strict=True)}


def test_each_rule_drops_what_it_names_and_the_first_one_counts(tmp_path) -> None:
    corpus, vectors = hand_made(tmp_path)
    by_page = rule_by_page(
        corpus,
        vectors,
        rules(same_document_pages=2, relative_margin=0.05, max_score=0.55, range_max=6),
    )
    assert by_page == {
        "p1": "near_duplicate",  # 0.95, and above the margin too, but the first rule counts
        "p0": "positive",
        "p2": "same_document",  # two pages on; p3 is three pages on, p4 in another document
        "p3": "relative_margin",  # 0.77 > 0.95 * 0.8 = 0.76
        "p4": "max_score",  # 0.76 is not above 0.76
        "p5": "max_score",
        "p6": "max_score",
        "p7": KEPT,
        "p9": KEPT,
    }  # and p8, a dev page, is never looked at


def test_neighbours_on_both_sides_are_left_out_as_far_as_the_param_says(tmp_path) -> None:
    pages = [
        {"page_id": f"p{row}", "split": "train", "document_id": "d", "page_number": 1 + row}
        for row in range(7)
    ]
    corpus = write_corpus(
        tmp_path / "corpus", pages, [{"query_id": "q"}], [("q", "p3", 1)], [("p3", "p2")]
    )
    pairs = exclusions(corpus, rules(same_document_pages=2), qrel_rows(corpus, "train"))
    assert dict(zip(pairs["page"], pairs["rule"], strict=True)) == {
        1: "same_document",
        2: "near_duplicate",  # and beside the answer too, but the first rule counts
        3: "positive",
        4: "same_document",
        5: "same_document",
    }


def test_the_window_counts_the_pages_that_are_left(tmp_path) -> None:
    corpus, vectors = hand_made(tmp_path)
    by_page = rule_by_page(corpus, vectors, rules(range_min=1, range_max=3, negatives=1))
    assert by_page == {
        "p1": "near_duplicate",
        "p0": "positive",
        "p2": "range_min",
        "p3": KEPT,
        "p4": SPARE,
    }


def test_several_positives_count_by_the_lowest(tmp_path) -> None:
    corpus, vectors = hand_made(tmp_path, [("q", "p0", 1), ("q", "p6", 2)], [])
    by_page = rule_by_page(corpus, vectors, rules(relative_margin=0.05))
    assert by_page["p5"] == "relative_margin"  # 0.75 > 0.95 * 0.6
    assert by_page["p7"] == KEPT


def test_a_negative_positive_score_makes_the_margin_stricter(tmp_path) -> None:
    corpus, vectors = hand_made(tmp_path, [("q", "p9", 1)], [])
    by_page = rule_by_page(corpus, vectors, rules(relative_margin=0.05))
    assert KEPT not in by_page.values()  # all score above -0.105
    lower = Vectors(vectors.queries, scored([-0.102, *COSINES[1:]]))
    assert rule_by_page(corpus, lower, rules(relative_margin=0.05))["p0"] == "relative_margin"


def test_a_query_without_survivors_stays_and_is_counted(tmp_path) -> None:
    corpus, vectors = hand_made(tmp_path)
    qrels = qrel_rows(corpus, "train")
    pairs = mined(corpus, vectors, rules(max_score=-0.5))
    audited = audit.with_positives(pairs, vectors, qrels)
    metrics = audit.summary(audited, required_negatives(qrels, 2), corpus)
    assert metrics["queries"] == {"mined": 1, "short": 1, "without": 1}
    assert metrics["kept"] == {"mined": 0, "given": 0}
    assert metrics["dropped"]["max_score"] == 7
    assert metrics["pages"] == {"searched": 9, "other_splits": 1}


@pytest.mark.parametrize(
    ("use", "kept"),
    [("use", ["p7"]), ("mix", ["p7", "p2"]), ("ignore", ["p2", "p3"])],
)
def test_given_negatives(tmp_path, use, kept) -> None:
    qrels = [("q", "p0", 1), ("q", "p7", 0), ("q", "p8", 0), ("q", "p1", 0), ("q", "p0", 0)]
    corpus, vectors = hand_made(tmp_path, qrels)
    pairs = mined(corpus, vectors, rules(given=use))
    assert [f"p{page}" for page in pairs.loc[pairs["rule"] == KEPT, "page"]] == kept
    given = pairs[pairs["origin"] == "given"].set_index("page")["rule"].to_dict()
    if use == "ignore":
        assert given == {}
    else:  # p8 is a dev page, p1 hardly differs from the answer, p0 is the answer
        assert given == {7: KEPT, 8: "split", 1: "near_duplicate"}
    assert not pairs.duplicated(["query", "page", "origin"]).any()


@pytest.mark.parametrize("sampling", ["top", "random", "weighted"])
def test_given_negatives_keep_the_order_of_their_source(tmp_path, sampling) -> None:
    """The first is the one that the source holds for the best, however far it is from the query."""
    qrels = [("q", "p7", 0), ("q", "p0", 1), ("q", "p8", 0), ("q", "p5", 0), ("q", "p6", 0)]
    corpus, vectors = hand_made(tmp_path, qrels)

    def kept(count: int, use: str) -> list[str]:
        pairs = mined(corpus, vectors, rules(given=use, negatives=count, sampling=sampling))
        return [f"p{page}" for page in pairs.loc[pairs["rule"] == KEPT, "page"]]

    assert kept(1, "use") == kept(1, "mix") == ["p7"]
    assert kept(2, "use") == ["p7", "p5"]
    assert kept(9, "use") == ["p7", "p5", "p6"]
    assert kept(4, "mix")[:3] == ["p7", "p5", "p6"]
    assert sorted(kept(9, "mix")) == [f"p{page}" for page in (2, 3, 4, 5, 6, 7, 9)]


def test_a_page_with_many_near_duplicates_widens_only_its_querys_search(
    tmp_path, monkeypatch
) -> None:
    random = np.random.default_rng(3)
    pages = [{"page_id": f"p{row:03}", "split": "train"} for row in range(300)]
    queries = [{"query_id": f"q{row}"} for row in range(6)]
    # The third query's answer has 200 near-duplicates, the fifth's 9. The fourth has seven answers.
    qrels = [(f"q{row}", f"p{row:03}", 1) for row in range(6)]
    qrels += [("q3", f"p{row:03}", 1) for row in range(280, 286)]
    near_duplicates = [("p002", f"p{row:03}") for row in range(60, 260)]
    near_duplicates += [("p004", f"p{row:03}") for row in range(261, 270)]
    corpus = write_corpus(tmp_path / "corpus", pages, queries, qrels, near_duplicates)
    unit = random.standard_normal((306, 8))
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(np.float32)
    vectors = Vectors(unit[300:], unit[:300])
    settings = rules(range_max=5, sampling="weighted")
    searches, original = [], negatives.nearest

    def counted(queries, pages, k, **keywords):
        searches.append((len(queries), k))
        return original(queries, pages, k, **keywords)

    monkeypatch.setattr(negatives, "nearest", counted)
    pairs = mined(corpus, vectors, settings)
    assert searches == [(3, 6), (2, 15), (1, 206)]
    assert pairs["query"].is_monotonic_increasing
    left = pairs[~pairs["rule"].isin(("positive", "near_duplicate"))]
    assert left.groupby("query").size().tolist() == [5] * 6

    def wide(queries, pages, k, **keywords):
        return original(queries, pages, 300, **keywords)

    monkeypatch.setattr(negatives, "nearest", wide)
    expected = mined(corpus, vectors, settings)
    pd.testing.assert_frame_equal(pairs, expected)


def test_the_veto_is_asked_only_until_there_are_enough(tmp_path) -> None:
    corpus, vectors = hand_made(tmp_path)
    seen = []

    def veto(pairs: pd.DataFrame) -> np.ndarray:
        seen.append(pairs["page"].tolist())
        return np.where(pairs["page"] == 3, 0.9, 0.5)

    by_page = rule_by_page(corpus, vectors, rules(), veto=veto)
    assert seen == [[2, 3], [4]]
    assert by_page["p3"] == "veto"
    assert [page for page, rule in by_page.items() if rule == KEPT] == ["p2", "p4"]


def test_sampling_follows_the_seed_and_the_weights() -> None:
    count = 4000
    pairs = pd.DataFrame(
        {
            "query": np.repeat(np.arange(count), 3),
            "page": np.tile([0, 1, 2], count),
            "rank": np.tile([1, 2, 3], count),
            "score": np.tile(np.float32([0.55, 0.5, 0.5]), count),
            "origin": "mined",
            "rule": "",
        }
    )
    negatives_per_query = pd.Series(1, index=range(count))

    def share(sampling: str, seed: int) -> tuple[float, list[int]]:
        chosen = choose(pairs, rules(sampling=sampling), negatives_per_query, seed)
        kept = chosen.loc[chosen["rule"] == KEPT, "page"]
        assert len(kept) == count
        return float((kept == 0).mean()), kept.tolist()

    assert share("top", 1)[0] == 1.0
    assert share("random", 1)[0] == pytest.approx(1 / 3, abs=0.03)
    # Scores apart by one temperature: e : 1 : 1.
    assert share("weighted", 1)[0] == pytest.approx(np.e / (2 + np.e), abs=0.02)
    for sampling in ("random", "weighted"):
        assert share(sampling, 1)[1] == share(sampling, 1)[1]
        assert share(sampling, 1)[1] != share(sampling, 2)[1]


def test_pdf_pages_get_their_neighbours_left_out_by_default() -> None:
    auto = rules(same_document_pages=-1)
    assert resolve_rules(auto, "pdf").same_document_pages == 2
    assert resolve_rules(auto, "generated").same_document_pages == 0
    for pages in (0, 1):
        resolved = resolve_rules(rules(same_document_pages=pages), "pdf")
        assert resolved.same_document_pages == pages


def test_a_window_too_narrow_is_refused() -> None:
    with pytest.raises(ValueError, match="range_max 5 is below range_min 4 plus negatives 2"):
        rules(range_min=4, range_max=5)


def random_corpus(folder: Path, queries: int = 40, pages: int = 120, width: int = 16):
    """Pages of three splits, and queries with one or two relevant pages."""
    random = np.random.default_rng(5)
    splits = ["train"] * (pages - 40) + ["dev"] * 20 + ["eval"] * 20
    table = [{"page_id": f"p{row:03}", "split": split} for row, split in enumerate(splits)]
    rows = {split: [i for i, s in enumerate(splits) if s == split] for split in set(splits)}
    query_table, qrels = [], []
    vectors = random.standard_normal((pages, width))
    query_vectors = np.zeros((queries, width))
    for number in range(queries):
        split = "train" if number < queries - 10 else ("dev" if number % 2 else "eval")
        relevant = random.choice(rows[split], 2 if number % 3 == 0 else 1, replace=False)
        query_table.append({"query_id": f"q{number:02}", "split": split})
        qrels += [(f"q{number:02}", f"p{page:03}", 1) for page in relevant]
        query_vectors[number] = vectors[relevant].sum(axis=0) + 0.7 * random.standard_normal(width)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (query_vectors, vectors)]
    corpus = write_corpus(folder, table, query_table, qrels)
    return corpus, Vectors(*(v.astype(np.float32) for v in unit))


class Stored:
    """What `mine_hard_negatives` needs of a model, over ids and stored vectors."""

    device = "cpu"

    def __init__(self, by_id: dict[str, np.ndarray]) -> None:
        self.by_id = by_id

    def encode_query(self, ids, **_):
        return np.stack([self.by_id[name] for name in ids])

    encode_document = encode_query

    def similarity(self, one, other):
        import torch

        return torch.as_tensor(one) @ torch.as_tensor(other).T

    def similarity_pairwise(self, one, other):
        import torch

        return (torch.as_tensor(one) * torch.as_tensor(other)).sum(-1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"relative_margin": 0.05},
        {"relative_margin": 0.3, "max_score": 0.4},
        {"range_min": 3, "range_max": 20},
        {"max_score": 0.2, "range_max": 70, "negatives": 5},
    ],
    ids=str,
)
def test_same_negatives_as_sentence_transformers(tmp_path, settings) -> None:
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    corpus, vectors = random_corpus(tmp_path / "corpus")
    ours = rules(**settings)
    pairs = mined(corpus, vectors, ours)
    named = with_ids(pairs[pairs["rule"] == KEPT], corpus)
    ours_by_query = named.groupby("query_id")["page_id"].agg(list).to_dict()

    positives = [
        (query_id, page_id)
        for query_id, pages in corpus.positives("train").items()
        for page_id in pages
    ]
    page_ids, query_ids = corpus.pages["page_id"], corpus.queries["query_id"]
    model = Stored(
        dict(zip(page_ids, vectors.pages, strict=True))
        | dict(zip(query_ids, vectors.queries, strict=True))
    )
    theirs = mine_hard_negatives(
        Dataset.from_dict(dict(zip(("query", "page"), zip(*positives, strict=True), strict=True))),
        model,
        corpus=page_ids[corpus.page_rows("train")].tolist(),
        range_min=ours.range_min,
        range_max=ours.range_max,
        max_score=ours.max_score if ours.max_score < 1 else None,
        relative_margin=ours.relative_margin or None,
        num_negatives=ours.negatives,
        output_format="labeled-pair",
        verbose=False,
    )
    expected: dict[str, list[str]] = {}
    for row in theirs:
        if row["label"] == 0:
            expected.setdefault(row["query"], []).append(row["page"])
    assert ours_by_query == expected
    assert sum(map(len, ours_by_query.values())) > 20


def default_params(**changed):
    content = params_file.read(ROOT / "params.yaml")
    content["profile"] = "cpu"
    content["mine"].update(changed)
    content["profiles"]["cpu"]["reranker"].update({"negatives": 2, "train_depth": 10})
    return params_file.parse(content)


def project(root: Path) -> Path:
    corpus, vectors = random_corpus(root / CORPUS)
    tuned = vectors.queries.copy()
    for query_id, pages in corpus.positives("train").items():
        row = corpus.query_row[query_id]
        tuned[row] += sum(vectors.pages[corpus.page_row[page]] for page in pages)
    tuned /= np.linalg.norm(tuned, axis=1, keepdims=True)
    for folder, queries in ((BASE_VECTORS, vectors.queries), (TUNED_VECTORS, tuned)):
        (root / folder).mkdir(parents=True)
        np.save(root / folder / "pages.npy", vectors.pages)
        np.save(root / folder / "queries.npy", queries)
    return root


def candidates_of(root: Path) -> Path:
    """The project with its candidates; the pages have no text, so BM25 has no part in them."""
    project(root)
    (root / FIRST_STAGE).write_text('{"tuned": 1.0, "bm25": 0.0}')
    make_candidates(default_params(), root)
    return root


def contents(root: Path, *folders: Path) -> dict[str, bytes]:
    paths = [p for f in folders for p in sorted([root / f, *(root / f).rglob("*")]) if p.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def test_mine_writes_the_same_bytes_twice(tmp_path) -> None:
    settings = default_params(sampling="weighted")
    outputs = []
    for name in ("one", "two"):
        root = project(tmp_path / name)
        make_negatives(settings, root)
        outputs.append(contents(root, NEGATIVES, AUDIT, METRICS))
    assert outputs[0] == outputs[1]
    assert set(outputs[0]) == {
        "data/negatives.parquet",
        "data/audit/mining/histogram.csv",
        "data/audit/mining/sheet.parquet",
        "metrics/mining.json",
    }
    negatives = pd.read_parquet(root / NEGATIVES)
    assert list(negatives) == ["query_id", "page_id", "rank", "score", "origin"]
    train = set(open_pages(root, "train"))
    assert set(negatives["page_id"]) <= train
    assert negatives["query_id"].is_monotonic_increasing
    metrics = json.loads((root / METRICS / "mining.json").read_text())
    assert metrics["kept"]["mined"] == len(negatives)
    assert metrics["queries"]["mined"] == 30
    sheet = pd.read_parquet(root / AUDIT / "mining/sheet.parquet")
    assert sheet["query_id"].nunique() == 20
    assert set(sheet["role"]) == {"positive", "kept", "dropped"}
    counts = pd.read_csv(root / AUDIT / "mining/histogram.csv").groupby("group")["pairs"].sum()
    assert counts["kept"] == len(negatives)
    assert counts["positive"] == sum(map(len, open_positives(root, "train").values()))


def open_pages(root: Path, split: str) -> list[str]:
    from pagefinder.data.corpus import Corpus

    corpus = Corpus(root / CORPUS)
    return corpus.pages["page_id"][corpus.page_rows(split)].tolist()


def open_positives(root: Path, split: str) -> dict[str, dict[str, int]]:
    from pagefinder.data.corpus import Corpus

    return Corpus(root / CORPUS).positives(split)


def test_hidden_positives_are_counted_after_every_rule(tmp_path) -> None:
    pages = [{"page_id": f"p{row}", "split": "train"} for row in range(4)]
    qrels = [("q", "p0", 1), ("q", "p1", 1), ("q2", "p0", 1)]
    queries = [{"query_id": "q"}, {"query_id": "q2"}]
    corpus = write_corpus(tmp_path / "corpus", pages, queries, qrels)
    vectors = Vectors(scored([1, 1]), scored([0.8, 0.79, 0.7, 0.6]))
    qrels = qrel_rows(corpus, "train")

    def rates(**changed):
        return audit.hidden_positives(
            mining(corpus, rules(**changed)), vectors, required_negatives(qrels, 2)
        )

    # One of p0 and p1 is hidden among three pages; both lie within 5% of one another.
    unfiltered = rates()
    assert (unfiltered["queries"], unfiltered["hidden"]) == (1, 1)
    rate = unfiltered["rate"]
    assert rate["before"] == rate["after_max_score"] == pytest.approx(1 / 3)
    assert rate["kept"] == 1 / 2
    filtered = rates(relative_margin=0.05)["rate"]
    assert filtered["after_range_min"] == pytest.approx(1 / 3)
    assert filtered["after_relative_margin"] == filtered["kept"] == 0
    alone = qrels[qrels["query"] == 1]
    one_positive = Mining(corpus, rules(), alone, seed=1)
    assert audit.hidden_positives(one_positive, vectors, required_negatives(alone, 2)) is None


def test_candidates(tmp_path) -> None:
    root = candidates_of(tmp_path / "one")
    rows = pd.read_parquet(root / CANDIDATES)
    assert not rows.duplicated(["query_id", "page_id"]).any()
    train = rows[rows["split"] == "train"]
    relevant = train[train["label"] == 1]
    positives = open_positives(root, "train")
    assert set(zip(relevant["query_id"], relevant["page_id"], strict=True)) == {
        (query, page) for query, pages in positives.items() for page in pages
    }
    negatives = train[train["label"] == 0].groupby("query_id").size()
    assert all(negatives[query] <= 2 * len(pages) for query, pages in positives.items())
    assert {"both", "tuned"} <= set(train["origin"]) <= {"qrels", "base", "tuned", "both"}
    for split in ("dev", "eval"):
        part = rows[rows["split"] == split]
        assert set(part["page_id"]) <= set(open_pages(root, split))
        assert (
            part.groupby("query_id")["rank"].agg(list).map(lambda r: r == [*range(1, 21)])
        ).all()
        assert (part.groupby("query_id")["score"].agg(lambda s: s.is_monotonic_decreasing)).all()
        assert part["label"].sum() == sum(map(len, open_positives(root, split).values()))
    ranks = pd.read_csv(root / AUDIT / "candidates/histogram.csv")
    assert set(ranks["split"]) == {"train", "dev"}
    assert ranks.groupby("split")["queries"].sum().to_dict() == {"dev": 5, "train": 30}
    twice = candidates_of(tmp_path / "two")
    assert contents(root, CANDIDATES, AUDIT) == contents(twice, CANDIDATES, AUDIT)


def test_the_tuned_embedder_overrules_the_base(tmp_path) -> None:
    corpus, base = hand_made(tmp_path, near_duplicates=[])
    tuned = Vectors(base.queries, scored([0.9, 0.1, 0.89, 0.5, 0.4, 0.3, 0.2, 0.1, 0, 0]))
    settings = rules(relative_margin=0.05)
    rows = candidates.training_candidates(mining(corpus, settings), base, tuned, 5, 9)
    # Base keeps p4 to p6 of its nearest five (p1, p2 and p3 are above its margin). Tuned keeps p3
    # to p6 of its own, and drops p2.
    named = dict(zip(rows["page"], rows["origin"], strict=True))
    assert named == {0: "qrels", 3: "tuned", 4: "both", 5: "both", 6: "tuned"}
    assert rows["label"].tolist() == [1, 0, 0, 0, 0]
    assert rows["score"].tolist() == pytest.approx([0.9, 0.5, 0.4, 0.3, 0.2])
    assert rows["rank"].tolist() == [1, 3, 4, 5, 6]


def test_what_only_the_base_finds_is_used_and_what_the_tuned_embedder_drops_is_not(
    tmp_path,
) -> None:
    corpus, base = hand_made(tmp_path, near_duplicates=[])
    tuned = Vectors(base.queries, scored([0.9, 0.1, 0.5, 0.45, 0.89, 0, 0.4, 0.3, 0, -0.2]))
    settings = rules(relative_margin=0.05)
    rows = candidates.training_candidates(mining(corpus, settings), base, tuned, 5, 9)
    # Base keeps p4 and p5 of its nearest five. Tuned drops p4, and p5 is not among its own.
    named = dict(zip(rows["page"], rows["origin"], strict=True))
    assert named == {0: "qrels", 2: "tuned", 3: "tuned", 5: "base", 6: "tuned", 7: "tuned"}
    assert rows.set_index("page")["rank"].to_dict() == {0: 1, 2: 3, 3: 4, 5: 0, 6: 5, 7: 6}
    assert rows.set_index("page").loc[5, "score"] == 0


def test_candidates_are_as_many_behind_the_skipped_pages(tmp_path) -> None:
    corpus, base = hand_made(tmp_path)
    rows = candidates.training_candidates(mining(corpus, rules(range_min=2)), base, base, 3, 9)
    # p1 is excluded, p2 and p3 are the two that are skipped.
    assert set(rows.loc[rows["label"] == 0, "page"]) == {4, 5, 6}


def test_a_query_without_candidates_is_no_error(tmp_path) -> None:
    corpus, base = hand_made(tmp_path)
    settings = rules(max_score=-0.9)
    rows = candidates.training_candidates(mining(corpus, settings), base, base, 5, 2)
    assert rows["label"].tolist() == [1]


def test_equal_eval_candidates_come_as_trec_eval_orders_them_and_the_best_answer_counts(
    tmp_path,
) -> None:
    pages = [{"page_id": f"p{row}", "split": "dev"} for row in range(5)]
    queries = [{"query_id": "q", "split": "dev"}]
    corpus = write_corpus(tmp_path / "corpus", pages, queries, [("q", "p0", 1), ("q", "p4", 1)])
    vectors = Vectors(np.array([[1, 0]], np.float32), scored([0.5, 0.9, 0.9, 0.9, 0.8]))
    rows = candidates.held_out_candidates(corpus, vectors, "dev", 5)
    assert rows["page"].tolist() == [3, 2, 1, 4, 0]
    tables = {"train": rows[:0], "dev": rows}
    ranks = candidates.rank_histogram(tables, corpus, 5).query("split == 'dev' and queries > 0")
    assert ranks[["rank", "queries", "share"]].to_numpy().tolist() == [[4, 1, 1]]


def test_vectors_of_another_corpus_are_refused(tmp_path) -> None:
    from pagefinder.errors import InputError

    root = project(tmp_path)
    np.save(root / BASE_VECTORS / "pages.npy", np.zeros((3, 16), np.float32))
    message = r"holds 3 vectors for 120 pages: .*-s STAGE`, the stage .* writes .*/embeddings/base"
    with pytest.raises(InputError, match=message):
        make_negatives(default_params(), root)
    assert not (root / NEGATIVES).exists()


def test_the_veto_asks_a_cross_encoder_about_the_right_texts_and_pages(
    tmp_path, monkeypatch
) -> None:
    import contextlib
    import io
    from types import SimpleNamespace

    from PIL import Image

    from pagefinder.mining.veto import open_veto
    from pagefinder.models import device, opening, visual_tokens

    def png(grey: int) -> dict:
        file = io.BytesIO()
        Image.new("RGB", (4, 4), (grey, grey, grey)).save(file, "PNG")
        return {"bytes": file.getvalue(), "path": None}

    pages = [{"page_id": f"p{row}", "split": "train", "image": png(row)} for row in range(100)]
    queries = [{"query_id": f"q{row}", "text": str(row)} for row in range(3)]
    corpus = write_corpus(tmp_path / "corpus", pages, queries, [("q0", "p0", 1)])
    settings = default_params()
    compute = settings.compute
    assert open_veto(settings.mine.veto, corpus, settings.pixels, compute, tmp_path) is None

    class Reranker:
        def predict(self, pairs, batch_size, activation_fn, show_progress_bar):
            assert len(pairs) <= batch_size
            logits = [int(text) + page.getpixel((0, 0))[0] / 1000 for text, page in pairs]
            return activation_fn(torch.tensor(logits)).numpy()

    opened = []

    def open_reranker(knobs, *_, **__):
        opened.append((knobs.model, knobs.revision, knobs.instruction))
        return Reranker()

    device_settings = SimpleNamespace(precision=contextlib.nullcontext)
    monkeypatch.setattr(device, "choose_device", lambda compute, scoring: device_settings)
    monkeypatch.setattr(opening, "open_reranker", open_reranker)
    monkeypatch.setattr(visual_tokens, "on_own_grid", lambda model, pixels: pixels)
    monkeypatch.setattr(visual_tokens, "check_budget", lambda *_: None)
    veto = {"model": "some/judge", "revision": "1", "instruction": "Right?", "max_score": 0.5}
    veto |= {"page_content": "image", "judge": False}
    veto = default_params(veto=veto).mine.veto
    probabilities = open_veto(veto, corpus, settings.pixels, compute, tmp_path)
    assert opened == [("some/judge", "1", "Right?")]
    pairs = pd.DataFrame({"query": [2, 0, 1] * 30, "page": list(range(90))}, index=range(5, 95))
    logits = pairs["query"] + pairs["page"] / 1000
    assert probabilities(pairs) == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)


@pytest.mark.parametrize(("highest", "warned"), [(1.0, False), (-0.9, True)])
def test_a_base_that_leaves_most_queries_without_negatives_is_told(
    tmp_path, caplog, highest, warned
) -> None:
    settings = default_params(relative_margin=0.0, max_score=highest, given="ignore")
    make_negatives(settings, project(tmp_path))
    assert ("most queries keep no negative" in caplog.text) is warned
