"""The few numbers at the head of the report."""

from pagefinder.reporting.format import count, gained, score
from pagefinder.reporting.inputs import Inputs


def headline(inputs: Inputs) -> list[tuple[str, str, str]]:
    """What was measured, its value, and how sure it is or what it is compared with."""
    metrics = inputs.embedder
    rows = [
        ("Base", score(metrics["base"]["ndcg@10"]), "NDCG@10 before tuning"),
        ("Tuned", score(metrics["tuned"]["ndcg@10"]), gained(metrics["gain"])),
    ]
    if inputs.reranker:
        depth = inputs.params.reranker.compared_depth
        at = inputs.reranker["depth"][str(depth)]["tuned"]
        detail = f"{gained(inputs.reranker['gain'])}, first {depth} pages"
        rows.append(("Reranked", score(at["ndcg@10"]), detail))
    if inputs.dimensions:
        recommended = inputs.dimensions["recommended"]["dimension"]
        detail = f"{count(4 * recommended)} bytes a page, float32"
        rows.append(("Recommended", f"{recommended} dims", detail))
    return rows
