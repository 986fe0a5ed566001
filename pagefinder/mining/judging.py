"""What may answer a question after all: by a cross-encoder, by a model on a server, or by both."""

import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.mining.veto import Veto, open_veto
from pagefinder.params import Params
from pagefinder.writing.calls import judge_server
from pagefinder.writing.client import ANSWERS, Chat, answer
from pagefinder.writing.judging import answers_of_pages
from pagefinder.writing.tally import Tally

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CorpusPictures:
    """Pictures of the pages of a corpus, as `prepare` stored them, by page_id."""

    corpus: Corpus

    def identity(self, page: str) -> str:
        """A hash of the picture."""
        return hashlib.sha256(self.png(page)).hexdigest()

    def make(self, pages: Collection[str]) -> None:
        """Nothing: the pictures lie in the corpus."""

    def png(self, page: str) -> bytes:
        """The picture as a PNG file."""
        return self.corpus.image_bytes(self.corpus.page_row[page])


def open_vetoes(params: Params, corpus: Corpus, root: Path, work: Path) -> Veto | None:
    """Open what `mine.veto` names: a cross-encoder, the judge, both, or (None) neither.

    Args:
        params: Of the run.
        corpus: Of the questions and pages.
        root: Of the project.
        work: Folder that keeps the judge's answers.

    Raises:
        InputError: no such model, or no judge that could be asked.
    """
    settings = params.mine.veto
    model = open_veto(settings, corpus, params.pixels, params.compute, root)
    if not settings.judge:
        return model
    judge = _judge(params, corpus, work)

    def vetoes(pairs: pd.DataFrame) -> np.ndarray:
        if model is None:
            return judge(pairs)
        scores = model(pairs)
        # The judge costs more: it sees only what the cross-encoder lets pass.
        rest = scores <= settings.max_score
        scores[rest] = np.maximum(scores[rest], judge(pairs[rest]))
        return scores

    return vetoes


def _judge(params: Params, corpus: Corpus, work: Path) -> Veto:
    """The judge as a veto: 1 where it says that the page answers the question, or says nothing."""
    if not (params.queries.writer.url or params.queries.judge.url):
        raise InputError(
            "mine.veto.judge is true, but queries.judge.url and queries.writer.url are empty: name "
            "a server, or set it to false"
        )
    if params.mine.veto.max_score == 1:
        raise InputError(
            "mine.veto.judge is true, but mine.veto.max_score is 1.0, which lets every page pass: "
            "lower it"
        )
    tally = Tally(params.queries.writer.max_requests)
    chat = Chat(judge_server(params.queries), CorpusPictures(corpus), work / ANSWERS, tally)
    texts, page_ids = (corpus.queries["text"].to_numpy(), corpus.pages["page_id"].to_numpy())

    def probabilities(pairs: pd.DataFrame) -> np.ndarray:
        asked = list(zip(texts[pairs["query"]], page_ids[pairs["page"]], strict=True))
        answers = answers_of_pages(asked, partial(answer, chat=chat))
        unknown = sum(says is None for says in answers)
        log.info(
            "the judge takes %d of %d mined pages for answers, and said nothing of %d",
            sum(says is True for says in answers),
            len(answers),
            unknown,
        )
        return np.array([0.0 if says is False else 1.0 for says in answers])

    return probabilities
