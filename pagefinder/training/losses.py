"""The loss that an embedder is trained with."""

from collections.abc import Sequence

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)

from pagefinder.params import Loss
from pagefinder.runtime import processes


def embedder_loss(
    model: SentenceTransformer,
    dims: Sequence[int],
    loss_params: Loss,
    mini_batch: int,
    *,
    gather: bool = True,
) -> MatryoshkaLoss:
    """In-batch softmax with hard negatives, summed over the Matryoshka dimensions.

    With `matryoshka_dims_per_step` above 0 it is summed over that many random ones at each step.

    With a mini-batch the loss is cached (GradCache, Gao et al. 2021, arXiv:2101.06983): the same
    gradients at a mini-batch's memory. 0 stands for the whole batch, uncached. With `gather` the
    pages of all processes are negatives.
    """
    options = {
        "scale": 1 / loss_params.temperature,
        "gather_across_devices": gather and processes.count() > 1,
    }
    contrastive = (
        CachedMultipleNegativesRankingLoss(model, mini_batch_size=mini_batch, **options)
        if mini_batch
        else MultipleNegativesRankingLoss(model, **options)
    )
    return MatryoshkaLoss(
        model,
        contrastive,
        matryoshka_dims=list(dims),
        n_dims_per_step=loss_params.matryoshka_dims_per_step,
    )
