"""A run for the report, written by hand: five eval queries, with invented figures."""

import io
import json
import shutil
from pathlib import Path

import pandas as pd
from corpora import write_corpus
from PIL import Image

from pagefinder import params_file
from pagefinder.params import Params

ROOT = Path(__file__).parents[2]
PAGES = [f"p{number}" for number in range(8)]
# Rank of the right page by query: base, tuned, reranked; 0 where it is not found.
RANKS = {"q0": (4, 1, 1), "q1": (0, 1, 2), "q2": (1, 3, 1), "q3": (2, 2, 2), "q4": (8, 1, 1)}
NDCG = {0: 0.0, 1: 1.0, 2: 0.63093, 3: 0.5, 4: 0.430677, 8: 0.315465}
GAIN = {"ndcg@10": 0.350585, "low": 0.1, "high": 0.6, "p_value": 0.0123, "documents": 5}
SHARES = {"area": 0.75, "denied_answered": 0.04, "denied_without_page": 0.25}
SHARES |= {"denied_without_document": 0.5}
# Of every system: what a rule of metrics/answers.json holds, weights apart.
ANSWERS = {"threshold": 0.5, "dev": SHARES, "eval": SHARES | {"denied_answered": 0.06}}
RULED = ("base", "tuned", "tuned@96", "base+bm25", "tuned+bm25", "tuned@96+bm25")


def settings(**changes: object) -> Params:
    """The project's params, some shared ones changed."""
    return params_file.parse(params_file.read(ROOT / "params.yaml") | changes)


def page(number: int) -> bytes:
    image = Image.new("RGB", (64, 32), (10 * number, 120, 200))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, *, full: bool = True) -> Path:
    """All inputs of the report; without `full` only what every run has."""
    pages = [
        {
            "page_id": name,
            "split": "eval" if number < 6 else "train",
            "document_id": f"d{number}" if full else None,
            "image": {"bytes": page(number), "path": None},
            "width": 64,
            "height": 32,
        }
        for number, name in enumerate(PAGES)
    ]
    queries = [{"query_id": q, "text": f"Where is <b>{q}</b>?", "split": "eval"} for q in RANKS]
    queries.append({"query_id": "t", "text": "A train query?", "split": "train"})
    qrels = [(q, PAGES[number], 1) for number, q in enumerate(RANKS)] + [("t", "p6", 1)]
    write_corpus(root / "data/corpus", pages, queries, qrels)
    for folder in ("metrics/plots", "data/runs/embedder", "data/runs/reranker", "data/per_query"):
        (root / folder).mkdir(parents=True)
    _embedder(root, full)
    _rankings(root, full)
    pd.DataFrame(columns=["origin", "item", "reason"]).to_parquet(root / "data/quarantine.parquet")
    _json(root / "metrics/corpus.json", {"account": account()})
    shutil.copy(ROOT / "params.yaml", root)
    (root / "requirements.lock").write_text("torch==2.13.0\ndvc==3.67.1\n")
    if full:
        _optional(root)
    return root


def account(**quarantined: int) -> dict[str, dict[str, int]]:
    """The account of metrics/corpus.json: 8 pages, 6 queries and 6 judgements, some quarantined."""
    rows = {"pages": 8, "queries": 6, "judgements": 6}
    return {
        table: {
            "source": kept + quarantined.get(table, 0),
            "kept": kept,
            "quarantined": quarantined.get(table, 0),
        }
        for table, kept in rows.items()
    }


def _json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _embedder(root: Path, full: bool) -> None:
    gain = GAIN if full else {"ndcg@10": 0.350585, "documents": 3}
    content = {
        "base": {"ndcg@10": 0.475415},
        "tuned": {"ndcg@10": 0.826},
        "gain": gain,
        "random": {"ndcg@10": 0.02},
    }
    _json(root / "metrics/embedder.json", content)
    precision = {
        "float32": {
            "192": {"ndcg@10": 0.826, "bytes_per_page": 768},
            "96": {"ndcg@10": 0.82, "bytes_per_page": 384},
        },
        "binary_rescored": {
            "192": {"ndcg@10": 0.7, "bytes_per_page": 24},
            "96": {"ndcg@10": 0.6, "bytes_per_page": 12},
        },
    }
    dims = {
        "192": {"base": {"ndcg@10": 0.475415}, "tuned": {"ndcg@10": 0.826}},
        "96": {"base": {"ndcg@10": 0.4}, "tuned": {"ndcg@10": 0.82}},
    }
    recommended = {"dimension": 96, "loss": 0.007264, "bits": 1 if full else 32}
    content = {"dims": dims, "precision": precision, "recommended": recommended}
    content["dev"] = {"192": {"loss": 0.0}, "96": {"loss": 0.004}}
    if full:
        content["dev"]["192"] |= {"high": 0.0, "share": 0.08}
        content["dev"]["96"] |= {"high": 0.021, "share": 0.92}
    content["dev_precision"] = {"float32": {"loss": 0.004}, "binary_rescored": {"loss": 0.018}}
    if full:
        content["dev_precision"]["binary_rescored"] |= {"high": 0.044, "share": 0.7}
    _json(root / "metrics/dimensions.json", content)
    rows = [
        [d, model, "float32", dims[str(d)][model]["ndcg@10"], 0.9, 4 * d, 1]
        for d in (192, 96)
        for model in ("base", "tuned")
    ]
    columns = ["dimension", "model", "precision", "ndcg@10", "recall@10", "bytes_per_page"]
    grid = pd.DataFrame(rows, columns=[*columns, "pareto"])
    grid.to_csv(root / "metrics/plots/dimensions.csv", index=False)


def _run(path: Path, ranks: dict[str, int]) -> None:
    """A run in which the right page stands at its rank and others around it."""
    lines = []
    for number, (query, rank) in enumerate(ranks.items()):
        others = [name for name in PAGES[:6] if name != PAGES[number]]
        if rank:
            others.insert(rank - 1, PAGES[number])
        lines += [f"{query} Q0 {name} {r} {-r} x\n" for r, name in enumerate(others, 1)]
    path.write_text("".join(lines))


def _rankings(root: Path, full: bool) -> None:
    table = pd.DataFrame(
        {"query_id": list(RANKS), "text": [f"Where is <b>{q}</b>?" for q in RANKS]}
    )
    table["document_id"] = [f"d{number}" for number in range(len(RANKS))]
    for place, system in enumerate(("base", "tuned")):
        ranks = {query: all_ranks[place] for query, all_ranks in RANKS.items()}
        table[f"{system}.ndcg@10"] = [NDCG[rank] for rank in ranks.values()]
        table[f"{system}.rank"] = list(ranks.values())
        _run(root / f"data/runs/embedder/{system}.trec", ranks)
    table.to_parquet(root / "data/per_query/embedder.parquet", index=False)
    if full:
        ranks = {query: all_ranks[2] for query, all_ranks in RANKS.items()}
        scores = {"tuned_ndcg@10": [NDCG[r] for r in ranks.values()], "tuned_rank": ranks.values()}
        reranked = pd.DataFrame({"query_id": list(RANKS)} | scores)
        reranked.to_parquet(root / "data/per_query/reranker.parquet", index=False)
        _run(root / "data/runs/reranker/tuned.trec", ranks)


def write_sizes(root: Path, **parameters: int) -> None:
    """The table of models that evaluate_embedder writes."""
    scores = {"base": 0.475415, "tuned": 0.826, "other-2B": 0.7}
    rows = [(name, count, scores[name]) for name, count in parameters.items()]
    table = pd.DataFrame(rows, columns=["model", "parameters", "ndcg@10"])
    table.to_csv(root / "data/per_query/embedder_models.csv", index=False)


def _optional(root: Path) -> None:
    write_sizes(root, base=3_000_000, tuned=3_000_000, **{"other-2B": 2_000_000_000})

    def at(**scores: float) -> dict[str, dict[str, float]]:
        return {name: {"ndcg@10": value} for name, value in scores.items()}

    depth = {
        "10": at(embedder=0.826, base=0.5, tuned=0.9, fused=0.91),
        "20": at(embedder=0.826, base=0.4, tuned=0.926, fused=0.93),
        "30": at(embedder=0.826, tuned=0.92, fused=0.93),
    }
    gain = {"ndcg@10": 0.1, "low": -0.1, "high": 0.3, "p_value": 0.31, "documents": 5}
    training, fusion = (gain | {"ndcg@10": value, "low": 0.05} for value in (0.526, 0.104))
    content = {"depth": depth, "gain": gain, "training": training, "fusion": fusion}
    content |= {"recall@10": 1.0, "first_stage_missed": 1}
    _json(root / "metrics/reranker.json", content | {"fusion_weight": 0.6})
    rows = [[d, name, s["ndcg@10"]] for d, by in depth.items() for name, s in by.items()]
    curve = pd.DataFrame(rows, columns=["depth", "model", "ndcg@10"])
    curve.to_csv(root / "metrics/plots/depth.csv", index=False)

    content = json.loads((root / "metrics/embedder.json").read_text())
    content |= {
        "text": at(bm25=0.6),
        "compare": {"other-2B": {"ndcg@10": 0.7}},
        "distractors": at(base=0.3),
    }
    _json(root / "metrics/embedder.json", content)
    claim = {"queries": 5, "documents": 5, "difference": 0.35, "low": 0.1, "high": 0.6}
    rows = [
        {"before": before, "after": "tuned", "metric": metric, **claim, "p_value": 0.0123}
        for before, metric in (("base", "ndcg@10"), ("base", "mrr@10"), ("bm25", "ndcg@10"))
    ]
    rows.append(rows[0] | {"before": "tuned", "after": "tuned@96", "difference": -0.006})
    rows.append(rows[0] | {"before": "base+distractors", "after": "tuned+distractors"})
    pd.DataFrame(rows).to_csv(root / "data/per_query/embedder_comparisons.csv", index=False)
    rows = [
        {"by": by, "value": value, "base": 0.4, "tuned": 0.8, **claim, "p_value": 0.0123}
        for by, value in (("kind", "chart"), ("kind", "NA"), ("document_id", "d0"))
    ]
    pd.DataFrame(rows).to_csv(root / "data/per_query/embedder_slices.csv", index=False)

    for model in ("embedder", "reranker"):
        rows = [[step, "loss", 2 / (step + 1)] for step in range(5)]
        rows += [[0, "dev_ndcg@10", 0.9], [4, "dev_ndcg@10", 0.8]]
        curves = pd.DataFrame(rows, columns=["step", "metric", "value"])
        curves.to_csv(root / f"metrics/plots/{model}_training.csv", index=False)
    budgets = pd.DataFrame([[2048, 2.0, 0.826, 1.0], [1024, 1.0, 0.7, 0.9]])
    budgets.columns = ["max_pixels", "tokens_per_page", "ndcg@10", "recall@10"]
    budgets.to_csv(root / "metrics/plots/pixels.csv", index=False)
    _mining(root)
    content = {
        "pages": {"eval": 6, "train": 2},
        "documents": {"cut": 1, "asked_in_several_splits": 3},
        "account": account(pages=2, queries=1),
    }
    _json(root / "metrics/corpus.json", content)
    _json(root / "data/source/provenance.json", {"source": "pdf"})
    rows = [["a.pdf", "1", "not a readable image: x"], ["a.pdf", "2", "not a readable image: y"]]
    bad = pd.DataFrame([*rows, ["q.csv", "3", "empty query"]], columns=["origin", "item", "reason"])
    bad.to_parquet(root / "data/quarantine.parquet")


def _mining(root: Path) -> None:
    content = {
        "queries": {"mined": 1, "short": 0, "without": 0},
        "kept": {"mined": 1, "given": 0},
        "spare": 3,
        "dropped": {"positive": 1, "relative_margin": 2, "given": {"split": 3}},
        "hidden_positives": {"queries": 4, "hidden": 4, "rate": {"before": 0.08, "kept": 0.005}},
    }
    _json(root / "metrics/mining.json", content)
    (root / "data/audit/mining").mkdir(parents=True)
    (root / "data/audit/candidates").mkdir(parents=True)
    rows = [["positive", 0.8, 1], ["kept", 0.5, 1], ["spare", 0.4, 3], ["relative_margin", 0.78, 2]]
    scores = pd.DataFrame(rows, columns=["group", "score", "pairs"])
    scores.to_csv(root / "data/audit/mining/histogram.csv", index=False)
    rows = [
        ["t", "p6", "positive", "qrels", 0.8, 1],
        ["t", "p7", "kept", "mined", 0.5, 3],
        ["t", "p0", "dropped", "relative_margin", 0.79, 2],
    ]
    columns = ["query_id", "page_id", "role", "rule", "score", "rank"]
    sheet = pd.DataFrame(rows, columns=columns)
    sheet.to_parquet(root / "data/audit/mining/sheet.parquet")
    rows = [["train", 2, 1, 1, 1.0], ["dev", 2, 0, 0, 0.0]]
    ranks = pd.DataFrame(rows, columns=["split", "pages", "rank", "queries", "share"])
    ranks.to_csv(root / "data/audit/candidates/histogram.csv", index=False)


def write_fusion(root: Path) -> None:
    """What a run writes besides where pages have text: base and tuned fused with BM25."""

    def gain(value: float) -> dict[str, float]:
        return GAIN | {"ndcg@10": value}

    fused = {
        f"{name}+bm25": {
            "ndcg@10": ndcg,
            "weights": {name: 0.6, "bm25": 0.4},
            "over": {name: gain(ndcg - alone), "bm25": gain(ndcg - 0.6)},
        }
        for name, ndcg, alone in (("base", 0.7, 0.475415), ("tuned", 0.9, 0.826))
    }
    _json(root / "metrics/fusion.json", fused | {"bm25": {"over": {"tuned": gain(-0.226)}}})
    _json(root / "metrics/answers.json", {name: ANSWERS for name in RULED})
    reranker = json.loads((root / "metrics/reranker.json").read_text())
    reranker["answers"] = ANSWERS
    for at in reranker["depth"].values():
        at["first_stage"] = {"ndcg@10": 0.9}
    over = {"tuned": gain(0.026), "fused": gain(0.03)}
    _json(root / "metrics/reranker.json", reranker | {"over_first_stage": over})
    table = root / "data/per_query/embedder_comparisons.csv"
    claims = pd.read_csv(table)
    rows = [
        claims.iloc[0].to_dict() | {"before": before, "after": after, "difference": value}
        for before, after, value in (
            ("base", "base+bm25", 0.2246),
            ("bm25", "base+bm25", 0.1),
            ("tuned", "tuned+bm25", 0.074),
            ("bm25", "tuned+bm25", 0.3),
        )
    ]
    pd.concat([claims, pd.DataFrame(rows)]).to_csv(table, index=False)
    _run(root / "data/runs/reranker/first_stage.trec", dict.fromkeys(RANKS, 1))
