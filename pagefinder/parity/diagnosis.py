"""Compare answers with golden cases, and name what differs by the mistake that explains it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from pagefinder.parity.asking import Answers
from pagefinder.parity.cases import Case, Golden
from pagefinder.parity.making import cut, distances
from pagefinder.parity.mistakes import Mistake, mistakes
from pagefinder.parity.running import PAGE, PAIR, QUERY, Input, Model

UNIT = 0.01  # how far the length of a unit vector may be from 1


@dataclass(frozen=True)
class Finding:
    """Something in which the answers differ.

    Attributes:
        aspect: prompt, tokens, pixels, length, pooling, weights, normalisation or dimension.
        what: What the other side does, in a clause.
        mend: The setting that mends it.
        kinds: Of the cases that show it.
    """

    aspect: str
    what: str
    mend: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """How near the answers are.

    Attributes:
        distances: [cases] see `distances`, once vectors are cut and brought to unit length.
        same_ranks: Whether the pages of every question come in the golden order.
        findings: What differs; empty where nothing does.
    """

    distances: np.ndarray
    same_ranks: bool
    findings: list[Finding]


def compare(golden: Golden, answers: Answers, model: Model) -> Comparison:
    """Compare answers with the golden cases; `model` is the released one, to try mistakes on."""
    expected = golden.vectors()
    if golden.reranks:
        given, findings = _logits(golden, answers.vectors)
    else:
        findings = _shape(golden, answers.vectors)
        width = min(expected.shape[1], answers.vectors.shape[1])
        given, expected = cut(answers.vectors, width), cut(expected, width)
    apart = distances(expected, given)
    for kind in (QUERY, PAGE, PAIR):
        places = [n for n, case in enumerate(golden.cases) if case.kind == kind]
        # So written, a distance that is no number differs too.
        if places and not (apart[places] <= golden.tolerance).all():
            tokens = [answers.tokens[n] for n in places]
            findings.append(_explain(golden, places, given[places], tokens, model))
    return Comparison(apart, _same_ranks(golden, expected, given), _merged(findings))


def _shape(golden: Golden, given: np.ndarray) -> list[Finding]:
    """What the number of dimensions and the lengths of vectors show."""
    settings, kinds = golden.settings, (QUERY, PAGE)
    findings = []
    width, right = given.shape[1], settings["dimension"]
    if width != right:
        what = f"its vectors have {width} dimensions, not {right}"
        mend = f"send `dimensions`: {right}, or keep the first {right} and bring them to length 1"
        if width < right:
            mend = f"send `dimensions`: {right}, or none: the vectors are cut shorter"
        findings.append(Finding("dimension", what, mend, kinds))
    lengths = np.linalg.norm(given, axis=1)
    if np.abs(lengths - 1).max() > UNIT:
        what = f"its vectors have lengths from {lengths.min():.3g} to {lengths.max():.3g}, not 1"
        mend = (
            '`"use_activation": true` in `--pooler-config` and no `use_activation`: false in the '
            "request, or divide each vector by its length, after the cut"
        )
        findings.append(Finding("normalisation", what, mend, kinds))
    return findings


def _logits(golden: Golden, scores: np.ndarray) -> tuple[np.ndarray, list[Finding]]:
    """The logits behind a reranker's scores, and whether these are what the release gives plainly.

    Scores from 0 to 1 are read both ways, and what is nearer to the golden logits counts.
    """
    plain = "probabilities" if golden.settings["activation"] == "Sigmoid" else "logits"
    readings = {"logits": scores}
    if scores.min() >= 0 and scores.max() <= 1:
        inside = np.clip(scores, 1e-12, 1 - 1e-12)
        readings["probabilities"] = np.log(inside / (1 - inside))
    expected = golden.vectors()
    form = min(readings, key=lambda name: float(distances(expected, readings[name]).mean()))
    if form == plain:
        return readings[form], []
    mend = f"send `use_activation`: {'true' if plain == 'probabilities' else 'false'}"
    finding = Finding(
        "normalisation", f"its scores are {form}, the released model's are {plain}", mend, (PAIR,)
    )
    return readings[form], [finding]


def _explain(
    golden: Golden,
    places: Sequence[int],
    given: np.ndarray,
    tokens: Sequence[int | None],
    model: Model,
) -> Finding:
    """The mistake that explains the answers to the cases of one kind."""
    cases = [golden.cases[n] for n in places]
    kind, least, best = cases[0].kind, 2 * golden.tolerance, None
    inputs = [
        Input(kind, case.query, golden.page(case) if kind != QUERY else "", case.name)
        for case in cases
    ]
    # What differs most comes first: a mistake that is not the one is then given up soon.
    order = np.argsort(-distances(_short(golden, places, given), given), kind="stable").tolist()
    candidates = mistakes(golden, cases, tokens)
    for mistake in tqdm(candidates, f"{kind}: mistakes", unit="mistake", disable=None):
        apart = _distance(mistake, golden, model, [inputs[n] for n in order], given[order])
        if apart < least - golden.tolerance / 10:  # of two that are as near the simpler one
            best, least = mistake, apart
    if best is None:
        return _by_tokens(golden, cases, tokens)
    return Finding(best.aspect, best.what, best.mend, (kind,))


def _short(golden: Golden, places: Sequence[int], given: np.ndarray) -> np.ndarray:
    """The golden vectors of some cases, as short as those that were given."""
    return cut(golden.vectors()[list(places)], given.shape[1])


def _distance(
    mistake: Mistake, golden: Golden, model: Model, inputs: Sequence[Input], given: np.ndarray
) -> float:
    """The mean distance of what a mistake brings about from what was given.

    Infinite once a case is beyond the tolerance.
    """
    apart = []
    for each, vector in zip(inputs, given, strict=True):
        prompt = golden.settings["prompts"][each.kind]
        try:
            mistaken = mistake.run(model, [each], [prompt])
        except (ValueError, RuntimeError, IndexError):  # a cut in a page, or beyond all positions
            return math.inf
        apart.append(float(distances(cut(mistaken, len(vector)), vector[np.newaxis])[0]))
        if apart[-1] > golden.tolerance:
            return math.inf
    return float(np.mean(apart))


def _by_tokens(golden: Golden, cases: Sequence[Case], tokens: Sequence[int | None]) -> Finding:
    """What the numbers of tokens show, where no mistake that is known explains the vectors."""
    kind = cases[0].kind
    told = [(case, count) for case, count in zip(cases, tokens, strict=True) if count is not None]
    differing = [(case, count) for case, count in told if count != case.tokens]
    if not differing:
        what = "none of the known mistakes explains its vectors"
        what += ", and it counts as many tokens" if told else ", and it tells no numbers of tokens"
        mend = "compare weights, precision and attention with the released folder's"
        return Finding("weights" if told else "tokens", what, mend, (kind,))
    counts = ", ".join(f"{count} for {case.tokens} ({case.name})" for case, count in differing)
    what = f"it counts other tokens: {counts}"
    changes = {count - case.tokens for case, count in differing}
    if len(changes) == 1 and len(differing) == len(cases):
        mend = "compare its prompt and chat template with `rendered` in golden/cases.json"
        return Finding("prompt", what, mend, (kind,))
    if golden.settings["pixels"] and all(case.image for case, _ in differing):
        mend = f"resize pages to {golden.settings['pixels']['max']} pixels before sending"
        return Finding("pixels", what, mend, (kind,))
    mend = "compare its tokenizer, and where it cuts, with `rendered` in golden/cases.json"
    return Finding("tokens", what, mend, (kind,))


def _same_ranks(golden: Golden, expected: np.ndarray, given: np.ndarray) -> bool:
    """Whether the pages of each question come in the same order; near ties may be swapped."""
    if golden.reranks:
        pages = len({case.image or case.text for case in golden.cases})
        tables = [scores.reshape(-1, pages) for scores in (expected, given)]
    else:
        rows = {
            kind: [n for n, c in enumerate(golden.cases) if c.kind == kind]
            for kind in (QUERY, PAGE)
        }
        tables = [v[rows[QUERY]] @ v[rows[PAGE]].T for v in (expected, given)]
    right, other = tables
    for one, two in zip(right, other, strict=True):
        order = np.argsort(-two, kind="stable")
        if (np.diff(one[order]) > 2 * golden.tolerance).any():
            return False
    return True


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """The findings, those that two kinds of cases share as one."""
    merged: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for finding in findings:
        key = (finding.aspect, finding.what, finding.mend)
        merged[key] = (*merged.get(key, ()), *finding.kinds)
    return [Finding(*key, kinds) for key, kinds in merged.items()]
