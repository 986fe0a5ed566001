"""Whether any page answers a question, by the scores of its best page: a rule that dev chooses."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerRule:
    """No page answers a question whose best page has a weighted score below the threshold.

    The scores are a page's own: a cosine, a BM25 score, a logit. A fused score will not do, since
    it is relative to the other pages of its list, and some page comes first in every list.

    Attributes:
        weights: Of each score, by its name.
        threshold: Of the weighted sum.
    """

    weights: Mapping[str, float]
    threshold: float

    def is_answered(self, scores: Mapping[str, float]) -> bool:
        """Whether a question is, from the scores of its best page, by their names."""
        total = sum(weight * scores[name] for name, weight in self.weights.items())
        return total >= self.threshold
