"""What a page gives a model: its image, its text, or both, by the param `page_content`."""

import pickle

import pandas as pd
import pytest
from corpora import write_corpus
from tiny import FILE, blank, mined_negatives, ranked_candidates, tiny_params, write_tiny_corpus

from pagefinder import params_file
from pagefinder.data import pixels
from pagefinder.data.corpus import Corpus
from pagefinder.training.batches import embedder_rows, with_content
from pagefinder.training.dev import dev_reranking, dev_retrieval


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("corpus")).folder


@pytest.mark.parametrize("content", ["image", "text", "image_text"])
def test_pages_are_given_as_the_param_says(folder, content):
    corpus = pickle.loads(pickle.dumps(Corpus(folder, content)))
    text = corpus.pages["text"][3]
    (given,) = corpus.page_inputs([3])
    if content == "image":
        assert given.tobytes() == corpus.image(3).tobytes()
    elif content == "text":
        assert given.strip() == text.strip()
    else:
        assert list(given) == ["image", "text"]
        assert given["image"].tobytes() == corpus.image(3).tobytes()
        assert given["text"].strip() == text.strip()


def test_no_text_of_a_page_is_opened_as_a_path_or_an_address(tmp_path):
    """Sentence Transformers opens such strings; "" stands for no text."""
    from sentence_transformers.base.modality import infer_modality

    picture = tmp_path / "picture.png"
    blank().save(picture)
    texts = [str(picture), "https://example.org/a.png", "data:image/png;base64,AAAA", None]
    image = {"bytes": pixels.encode_png(blank()), "path": None}
    pages = [
        {"page_id": f"p{number}", "split": "train", "image": image, "text": text}
        for number, text in enumerate(texts)
    ]
    write_corpus(tmp_path / "corpus", pages, [], [])
    given = Corpus(tmp_path / "corpus", "text").page_inputs(range(4))
    assert [page.strip() for page in given] == [*texts[:3], ""]
    assert [infer_modality(page) for page in given] == ["text"] * 4
    assert infer_modality(texts[0]) == "image"


@pytest.mark.parametrize("content", ["image", "text", "image_text"])
def test_training_and_dev_see_the_same_pages(folder, content):
    corpus = Corpus(folder, content)
    expected = corpus.page_inputs(range(40))
    row = with_content(embedder_rows(corpus, mined_negatives(), 1), corpus)[5]
    assert row["query"] == corpus.query_text["q05"]
    assert list(row) == ["query", "image", "negative_0", "negative_1"]
    assert [row["image"], row["negative_0"]] == [expected[5], expected[6]]
    labelled = with_content(
        pd.DataFrame({"query_id": ["q05"], "image_id": ["p06"], "label": [0.5]}), corpus
    )[0]
    assert labelled == {"query": corpus.query_text["q05"], "image": expected[6], "label": 0.5}
    knobs = tiny_params()
    retrieval = dev_retrieval(corpus, knobs.embedder, 8, 1)
    rows = [corpus.page_row[page_id] for page_id in retrieval.corpus_ids]
    assert retrieval.corpus == [expected[row] for row in rows]
    reranking = dev_reranking(corpus, ranked_candidates(), knobs.reranker, 8, 1)
    assert all(page in expected for sample in reranking.samples for page in sample["positive"])


def test_profiles_of_images_give_images():
    content = params_file.read(FILE)
    for name in ("cpu", "gpu"):
        knobs = params_file.parse(content | {"profile": name})
        assert {knobs.base.page_content, knobs.reranker.page_content} == {"image"}
