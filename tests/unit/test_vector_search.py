"""Search at every dimension and precision, against the definitions written out."""

from functools import partial

import numpy as np
import pytest
import vector_corpus
from sentence_transformers.util import quantize_embeddings

from pagefinder.data import corpus as corpora
from pagefinder.errors import InputError
from pagefinder.evaluation.dimensions import score_grid
from pagefinder.retrieval.hamming import hamming_nearest, pack, unpack
from pagefinder.retrieval.metrics import mean_metrics, metrics_per_query
from pagefinder.retrieval.precisions import (
    PRECISIONS,
    Precision,
    ScalarCodec,
    search_scalar_codes,
)
from pagefinder.retrieval.tasks import Task, task_of
from pagefinder.retrieval.vector_search import search
from pagefinder.retrieval.vectors import Vectors, cut, open_vectors


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> corpora.Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    vector_corpus.write(folder / "corpus")
    vector_corpus.encode(folder / "corpus", folder / "vectors", 1.0)
    return corpora.Corpus(folder / "corpus")


@pytest.fixture(scope="module")
def vectors(corpus) -> Vectors:
    return open_vectors(corpus.folder.parent / "vectors", corpus)


@pytest.fixture(scope="module")
def test(corpus) -> Task:
    return task_of(corpus, "eval")


def slow_search(corpus, scored) -> dict[str, list[str]]:
    """Eval pages of every eval query by a score function, ties to the id that sorts last."""
    pages = corpus.pages[corpus.pages["split"] == "eval"]
    queries = corpus.queries[corpus.queries["split"] == "eval"]
    return {
        query["query_id"]: [
            name
            for _, name in sorted(
                ((scored(q, p), page["page_id"]) for p, page in pages.iterrows()), reverse=True
            )
        ]
        for q, query in queries.iterrows()
    }


def ids(run) -> dict[str, list[str]]:
    return {query: list(pages) for query, pages in run.as_dict().items()}


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("dimension", [32, 20, 5])
def test_float32_is_the_cosine_of_the_slices(corpus, vectors, test, dimension: int) -> None:
    q, p = (np.asarray(a, np.float64)[:, :dimension] for a in (vectors.queries, vectors.pages))
    expected = slow_search(corpus, lambda i, j: np.float32(unit(q[i]) @ unit(p[j])))
    assert ids(search(test, vectors, 40, dimension=dimension)) == expected


@pytest.mark.parametrize("dimension", [32, 20, 5])
def test_binary_counts_differing_signs(corpus, vectors, test, dimension: int) -> None:
    q, p = (np.asarray(a)[:, :dimension] > 0 for a in (vectors.queries, vectors.pages))
    expected = slow_search(corpus, lambda i, j: -np.count_nonzero(q[i] != p[j]))
    run = search(test, vectors, 40, dimension=dimension, precision=PRECISIONS["binary"])
    assert ids(run) == expected
    assert np.all(run.scores == np.rint(run.scores))


def test_binary_rescored_orders_the_shortlist_again(corpus, vectors, test, monkeypatch) -> None:
    """With a shortlist of 8: its members are binary's best 8, their order the float query's."""
    monkeypatch.setattr("pagefinder.retrieval.vector_search.SHORTLIST", 4)
    q = np.asarray(vectors.queries, np.float64)
    signs = np.where(vectors.pages > 0, 1.0, -1.0)
    order = slow_search(corpus, lambda i, j: np.float32(unit(q[i]) @ signs[j]))
    short = ids(search(test, vectors, 8, precision=PRECISIONS["binary"]))
    ranked = ids(search(test, vectors, 40, precision=PRECISIONS["binary_rescored"], rescore=2))
    for query, pages in ranked.items():
        assert pages == [page for page in order[query] if page in short[query]]


def test_int8_ranks_by_what_its_codes_give_back(corpus, vectors, test) -> None:
    train = np.array([unit(v) for v in np.asarray(vectors.pages)[corpus.page_rows("train")]])
    low, high = train.min(axis=0), train.max(axis=0)

    def decoded(page: np.ndarray) -> np.ndarray:
        codes = np.clip(np.round((unit(page) - low) / ((high - low) / 255)), 0, 255)
        return low + codes * (high - low) / 255

    p = np.array([decoded(page) for page in np.asarray(vectors.pages)])
    q = np.array([unit(query) for query in vectors.queries])
    expected = slow_search(corpus, lambda i, j: float(q[i] @ p[j]))
    ranked = ids(search(test, vectors, 40, precision=PRECISIONS["int8"]))
    same = sum(ranked[query] == expected[query] for query in ranked)
    assert same >= 0.95 * len(ranked)  # rounding at a step's edge may go the other way in float32


def test_truncated_int8_ranks_by_the_codes_of_quantize_embeddings(corpus, vectors, test) -> None:
    pages = cut(np.asarray(vectors.pages), 10)
    ranges = np.stack([f(pages[corpus.page_rows("train")], axis=0) for f in (np.min, np.max)])
    queries = cut(np.asarray(vectors.queries[test.query_rows]), 10)
    codes = [
        quantize_embeddings(part, "int8", ranges=ranges).astype(np.int64)
        for part in (queries, pages[test.page_rows])
    ]
    scores = codes[0] @ codes[1].T
    run = search(test, vectors, 7, dimension=10, precision=PRECISIONS["int8_truncated"])
    expected = -np.sort(-scores, axis=1)[:, :7]
    np.testing.assert_array_equal(np.array([list(row) for row in run.scores]), expected)
    rounded = ids(search(test, vectors, 7, dimension=10, precision=PRECISIONS["int8"]))
    assert ids(run) != rounded


def test_int8_ranges_come_from_train_pages_alone(vectors, corpus) -> None:
    """Values outside them are clipped; wrapped around, the largest would become the smallest."""
    pages = np.zeros((3, 2), np.float32)
    pages[:, 0], pages[:, 1] = [0.6, 0.8, 1.0], [0.8, 0.6, 0.0]
    codec = ScalarCodec.measure(pages, 2, np.array([0, 1]), bits=8)
    assert codec.encode(pages).tolist() == [[-128, 127], [127, -128], [127, -128]]
    # The second number lies below the range [0.6, 0.8], the first above it.
    np.testing.assert_allclose(codec.decode(codec.encode(pages[[2]])), [[0.8, 0.6]], atol=1e-6)
    np.testing.assert_allclose(codec.decode(codec.encode(pages[:2])), pages[:2], atol=1e-3)


def test_a_new_precision_is_one_object(vectors, test) -> None:
    """int4 by half the bits of int8's codec: it ranks, costs half, and loses a little more."""
    search_int4 = partial(search_scalar_codes, bits=4)
    int4 = Precision("int4", 4, search_int4, needs_train_pages=True)
    ndcg = {
        precision.name: metrics_per_query(
            search(test, vectors, 10, precision=precision), test.qrels
        )["ndcg@10"].mean()
        for precision in (*PRECISIONS.values(), int4)
    }
    assert ndcg["binary_rescored"] < ndcg["int4"] <= ndcg["float32"] + 0.02
    assert int4.bytes_per_page(21) == 11
    codec = ScalarCodec.measure(vectors.pages, 32, np.arange(9), bits=4)
    codes = codec.encode(np.asarray(vectors.pages))
    assert (codes.min(), codes.max()) == (-8, 7)
    np.testing.assert_allclose(
        codec.decode(codes[:9]), vectors.pages[:9], atol=float(codec.step.max()) / 2 + 1e-6
    )


def test_int8_without_train_pages_is_an_error(vectors) -> None:
    with pytest.raises(InputError, match="train pages"):
        ScalarCodec.measure(vectors.pages, 4, np.array([], np.int64), bits=8)


def test_only_eval_pages_are_searched(corpus, vectors, test) -> None:
    eval_pages = set(corpus.pages.loc[corpus.pages["split"] == "eval", "page_id"])
    for precision in PRECISIONS.values():
        run = search(test, vectors, 200, precision=precision)
        assert all(set(pages) == eval_pages for pages in ids(run).values()), precision
    far = search(task_of(corpus, "eval", distractors=True), vectors, 200)
    assert all(len(pages) == len(corpus.pages) for pages in ids(far).values())


def test_ties_between_equal_pages_are_trec_evals(corpus, test, vectors) -> None:
    same = Vectors(vectors.queries, np.repeat(vectors.pages[:1], len(corpus.pages), axis=0))
    pages = sorted(corpus.pages.loc[corpus.pages["split"] == "eval", "page_id"], reverse=True)
    for precision in PRECISIONS.values():
        run = search(test, same, 10, precision=precision)
        assert all(list(row) == pages[:10] for row in run.page_ids), precision


def test_swapped_rows_lower_the_score(corpus, test, vectors) -> None:
    """Vectors in another order than the table: the figures must fall, not stay."""
    in_order = metrics_per_query(search(test, vectors, 100), test.qrels)["ndcg@10"].mean()
    swapped = Vectors(vectors.queries, np.roll(vectors.pages, 1, axis=0))
    swapped_score = metrics_per_query(search(test, swapped, 100), test.qrels)["ndcg@10"].mean()
    assert in_order > 0.6
    assert swapped_score < 0.3


def test_a_grid_looks_at_ten_pages(test, vectors) -> None:
    poor = Vectors(np.roll(vectors.queries, 1, axis=1), vectors.pages)
    ten, five = (mean_metrics(search(test, poor, k), test.qrels) for k in (10, 5))
    grid = score_grid(test, {"tuned": poor}, {}, 20, "cpu").set_index("precision")
    for metric in ("ndcg@10", "recall@10"):
        assert grid.loc["float32", metric] == ten[metric] > five[metric]


def test_cut_brings_to_unit_length() -> None:
    vectors = np.array([[3, 4, 12], [0, 0, 1]], np.float32)
    np.testing.assert_allclose(cut(vectors, 2), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(cut(vectors[np.array([[0], [0]])], 2), [[[0.6, 0.8]]] * 2)


@pytest.mark.parametrize("dimension", [1, 8, 64, 70])
def test_packed_signs_come_back(dimension: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((5, dimension))
    vectors[0, 0] = 0.0
    assert unpack(pack(vectors), dimension).tolist() == np.where(vectors > 0, 1, -1).tolist()


def test_dimension_beyond_the_vectors(test, vectors) -> None:
    with pytest.raises(InputError, match="embedder.dims names 64, but the vectors have 32"):
        search(test, vectors, 10, dimension=64)


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_hamming_at_any_block(block: int) -> None:
    rng = np.random.default_rng(0)
    queries, pages = rng.standard_normal((4, 70)), rng.standard_normal((90, 70))
    pages[10:50] = pages[3]
    ties = rng.permutation(90)
    distances, rows = hamming_nearest(pack(queries), pack(pages), 30, ties, block)
    for i in range(4):
        exact = ((queries[i] > 0) != (pages > 0)).sum(axis=1)
        best = sorted(range(90), key=lambda j: (exact[j], ties[j]))[:30]
        assert rows[i].tolist() == best
        assert distances[i].tolist() == exact[best].tolist()


def test_bytes_per_page() -> None:
    sizes = {name: precision.bytes_per_page(20) for name, precision in PRECISIONS.items()}
    assert sizes == {
        "float32": 80,
        "int8": 20,
        "int8_truncated": 20,
        "binary": 3,
        "binary_rescored": 3,
    }
    assert PRECISIONS["binary_rescored"].bytes_per_page(2048) == 256
