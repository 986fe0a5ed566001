"""Training examples and dev evaluators: rows of ids that become texts and images when read."""

import functools
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import resolve_ids

from pagefinder.data.corpus import PAGES, Corpus
from pagefinder.errors import InputError
from pagefinder.models import encoding
from pagefinder.models.device import DeviceSettings
from pagefinder.params import Embedder, Reranker

log = logging.getLogger(__name__)


def embedder_rows(
    corpus: Corpus, negatives: pd.DataFrame, seed: int, excluded: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per training query and positive: query_id, image_id, negative_0_id, negative_1_id...

    Every row has as many negatives as the best-off query; a query with fewer gets pages drawn from
    the train split, which is what in-batch negatives are anyway, never one of its own positives nor
    one that `excluded` names: rows of query and page, as `excluding.exclusions` gives them.
    """
    positives = corpus.positives("train")
    mined = negatives.groupby("query_id", sort=False)["page_id"].agg(list).to_dict()
    wanted = max((len(pages) for pages in mined.values()), default=0)
    barred: Mapping[Any, list[str]] = {}
    if excluded is not None:
        ids = corpus.pages["page_id"].to_numpy()[excluded["page"]]
        asked = corpus.queries["query_id"].to_numpy()[excluded["query"]]
        barred = pd.Series(ids).groupby(asked).agg(list).to_dict()
    taken = {query_id: {*pages, *barred.get(query_id, ())} for query_id, pages in positives.items()}
    full = _topped_up(corpus, mined, taken, wanted, seed)
    rows = [
        [query_id, page_id, *full[query_id]]
        for query_id, pages in positives.items()
        for page_id in pages
    ]
    columns = ["query_id", "image_id", *(f"negative_{i}_id" for i in range(wanted))]
    return pd.DataFrame(rows, columns=columns)


def _topped_up(
    corpus: Corpus,
    mined: Mapping[Any, list[str]],
    barred: Mapping[str, set[str]],
    wanted: int,
    seed: int,
) -> dict[str, list[str]]:
    """`wanted` negatives for every query of `barred`: mined ones, then drawn from those allowed."""
    train_pages = corpus.pages.loc[corpus.pages["split"] == "train", "page_id"].to_numpy()
    inside = set(train_pages)
    random = np.random.default_rng(seed)
    full: dict[str, list[str]] = {}
    for query_id, pages in barred.items():
        own = full[query_id] = list(mined.get(query_id, []))
        taken = inside & {*own, *pages}
        while len(own) < wanted and len(taken) < len(inside):
            drawn = str(random.choice(train_pages))
            if drawn not in taken:
                taken.add(drawn)
                own.append(drawn)
        if len(own) < wanted:
            raise InputError(
                f"{len(inside)} train pages are too few for {wanted} negatives per query: "
                "lower mine.negatives or mine.same_document_pages"
            )
    drawn_pages = [wanted - len(mined.get(query_id, ())) for query_id in full]
    log.info(
        "%d of %d queries had fewer than %d mined negatives: they got %d pages drawn at random",
        sum(map(bool, drawn_pages)),
        len(full),
        wanted,
        sum(drawn_pages),
    )
    return full


def with_content(rows: pd.DataFrame, corpus: Corpus) -> Dataset:
    """Rows of ids as a dataset that reads texts and images when they are asked for."""
    queries = Dataset.from_pandas(corpus.queries[["query_id", "text"]], preserve_index=False)
    pages = Dataset.from_file(str(corpus.folder / PAGES)).select_columns(["page_id", "image"])
    # cast_column changes the view; cast would write a second copy of every page.
    pages = pages.cast_column("image", ImageFeature(mode="RGB"))
    lookups = {
        column: queries if column == "query_id" else pages
        for column in rows.columns
        if column.endswith("_id")
    }
    resolve = resolve_ids(lookups)

    def content(some: dict[str, list[Any]]) -> dict[str, list[Any]]:
        try:
            resolved: dict[str, list[Any]] = resolve(some)
        except (OSError, SyntaxError, ValueError) as error:
            names = [name for name in lookups if name != "query_id"]
            raise corpus.damaged([page for name in names for page in some[name]]) from error
        return resolved

    dataset = Dataset.from_pandas(rows, preserve_index=False)
    dataset.set_transform(content)
    return dataset


def no_duplicates(
    corpus: Corpus,
    dataset: Dataset,
    **keywords: Any,  # noqa: ANN401
) -> NoDuplicatesBatchSampler:
    """Batches without a query or page twice, nor a page that answers another's query as well.

    Decided on ids instead of pixels: Sentence Transformers' sampler sees the table of `_apart`.
    """
    rows = _apart(corpus, dataset.with_format(None).to_pandas())
    return NoDuplicatesBatchSampler(Dataset.from_pandas(rows, preserve_index=False), **keywords)


def _apart(corpus: Corpus, rows: pd.DataFrame) -> pd.DataFrame:
    """Names such that two rows may share a batch if they have none in common.

    Near-duplicates have one name, that of the first of them. Where a query has several right pages,
    every row with one of them bears the query's name too.
    """
    first = _first_alike(corpus)
    queries: dict[str, list[str]] = {}
    for query_id, pages in corpus.positives("train").items():
        for page in sorted({first.get(page, page) for page in pages}) if len(pages) > 1 else ():
            queries.setdefault(page, []).append(query_id)
    pages = rows.drop(columns="query_id").apply(
        lambda ids: ids.map(lambda page: first.get(page, page))
    )
    answered = [
        sorted({query_id for page in names for query_id in queries.get(page, ())})
        for names in pages.to_numpy()
    ]
    table: pd.DataFrame = pages.assign(query_id=rows["query_id"])
    for number in range(max(map(len, answered), default=0)):
        # Rows that answer fewer queries repeat their own.
        table[f"answers_{number}"] = [
            some[number] if number < len(some) else own
            for some, own in zip(answered, rows["query_id"], strict=True)
        ]
    return table


def _first_alike(corpus: Corpus) -> dict[str, str]:
    """Of every page with near-duplicates, the first page that it is connected with by them."""
    pairs = corpus.near_duplicates
    one, other = (pairs[name].map(corpus.page_row).to_numpy(int) for name in pairs)
    count = len(corpus.pages)
    graph = coo_array((np.ones(len(pairs), bool), (one, other)), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    ids = corpus.pages["page_id"].to_numpy()
    _, places = np.unique(labels, return_index=True)
    return {str(ids[row]): str(ids[places[labels[row]]]) for row in np.unique(one)}


def dev_retrieval(
    corpus: Corpus, knobs: Embedder, batch: int, seed: int
) -> InformationRetrievalEvaluator:
    """NDCG@10 of dev queries over dev pages, both sampled down to `dev_pages` with the seed."""
    positives = corpus.positives("dev")
    chosen: dict[str, dict[str, int]] = {}
    pages: dict[str, None] = {}
    random = np.random.default_rng(seed)
    for query_id in random.permutation(list(positives)):
        if len(pages) >= knobs.dev_pages:
            break
        chosen[str(query_id)] = positives[query_id]
        pages.update(dict.fromkeys(positives[query_id]))
    others = corpus.pages.loc[corpus.pages["split"] == "dev", "page_id"].to_numpy(str)
    # The table is in order of documents: only where all are taken may it decide.
    for page_id in random.permutation(others) if len(others) > knobs.dev_pages else others:
        if len(pages) >= knobs.dev_pages:
            break
        pages[str(page_id)] = None
    texts = corpus.queries.set_index("query_id")["text"]
    return InformationRetrievalEvaluator(
        queries={query_id: texts[query_id] for query_id in chosen},
        corpus={page_id: corpus.image(corpus.page_row[page_id]) for page_id in pages},
        relevant_docs={query_id: set(relevant) for query_id, relevant in chosen.items()},
        ndcg_at_k=[10],
        mrr_at_k=[10],
        accuracy_at_k=[1],
        precision_recall_at_k=[10],
        map_at_k=[10],
        batch_size=batch,
        corpus_chunk_size=len(pages),
        name="dev",
        write_csv=False,
        main_score_function="cosine",
    )


def encode_ahead(
    evaluator: InformationRetrievalEvaluator, corpus: Corpus, device_settings: DeviceSettings
) -> None:
    """Let the evaluator's pages be made ready by loader processes, as those of encoding are."""
    rows = np.array([corpus.page_row[page_id] for page_id in evaluator.corpus_ids])
    one_process = evaluator.embed_inputs

    def embed_inputs(
        model: SentenceTransformer,
        sentences: list[Any],
        encode_fn_name: str | None = None,
        **keywords: Any,  # noqa: ANN401
    ) -> torch.Tensor:
        if encode_fn_name != "document":
            found: torch.Tensor = one_process(model, sentences, encode_fn_name, **keywords)
            return found
        vectors = encoding.encode_pages(model, corpus, rows, device_settings, evaluator.batch_size)
        return torch.from_numpy(vectors).to(device_settings.device)

    evaluator.embed_inputs = embed_inputs


def dev_reranking(
    corpus: Corpus, candidates: pd.DataFrame, knobs: Reranker, batch: int, seed: int
) -> CrossEncoderRerankingEvaluator:
    """NDCG@10 of `dev_queries` dev queries whose page is among those reranked."""
    positives = corpus.positives("dev")
    texts = corpus.queries.set_index("query_id")["text"]
    dev = candidates[(candidates["split"] == "dev") & (candidates["rank"] <= knobs.compared_depth)]
    pages = dev.sort_values(["query_id", "rank"]).groupby("query_id")["page_id"].agg(list)
    samples: list[dict[str, Any]] = []

    # One image of a page, however many queries it is a candidate of: nothing changes it.
    @functools.cache
    def image(page: str) -> Image.Image:
        return corpus.image(corpus.page_row[page])

    for query_id in np.random.default_rng(seed).permutation(pages.index.to_numpy(str)):
        answers = positives.get(query_id, {})
        right = [page for page in pages[query_id] if page in answers]
        wrong = [page for page in pages[query_id] if page not in answers]
        if right and wrong and len(samples) < knobs.dev_queries:
            samples.append(
                {
                    "query": texts[query_id],
                    "positive": [image(page) for page in right],
                    "negative": [image(page) for page in wrong],
                }
            )
    if not samples:
        raise InputError(
            "no dev query has both right and wrong candidates, so no checkpoint can be chosen: "
            "raise prepare.dev_share or reranker.depths"
        )
    return CrossEncoderRerankingEvaluator(
        samples, at_k=10, name="dev", batch_size=batch, write_csv=False, show_progress_bar=False
    )
