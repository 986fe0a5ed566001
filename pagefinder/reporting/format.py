"""Numbers and names as the report writes them, and what an interval means in a sentence."""

import math
from collections.abc import Mapping
from typing import Any

AT_MOST = "at most"  # of a p-value that is an upper bound


def score(value: float | None) -> str:
    """A metric with four digits, e.g. 0.8123; a dash for None or NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"


def change(value: float | None, digits: int = 4) -> str:
    """A difference with its sign, the minus as a typographic one; a dash for None or NaN."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:+.{digits}f}".replace("-", "−")


def count(value: float) -> str:
    """A number, rounded to a whole one, with thousands separated."""
    return f"{round(value):,}"


def interval(gain: Mapping[Any, Any]) -> str:
    """The 95% interval of a gain (low, high), or "too few documents" without one."""
    if "low" not in gain or math.isnan(gain["low"]):
        return "too few documents"
    return f"{change(gain['low'], 3)} to {change(gain['high'], 3)}"


def gained(gain: Mapping[str, Any]) -> str:
    """A gain (ndcg@10, low, high, p_value) as text; the last three may be missing."""
    return f"{change(gain['ndcg@10'])}{bracketed(gain)}"


def bracketed(gain: Mapping[Any, Any]) -> str:
    """Interval and p-value of a gain in brackets after a space; "" for a gain without them."""
    if "low" not in gain:
        return ""
    p = p_value(gain)
    return f" (95% interval {interval(gain)}, p {p if p.startswith(AT_MOST) else f'= {p}'})"


def smallest_p(resamples: int) -> float:
    """The smallest p-value that so many sampled flips can give, rounded as the metrics are."""
    return round(1 / (resamples + 1), 6)


def p_value(gain: Mapping[str, Any]) -> str:
    """The p-value of a gain with one or two significant digits; a dash without one.

    A p-value at `smallest_p`, which a gain of `Inputs` holds, is an upper bound: "at most 0.0001".
    """
    value = gain.get("p_value", math.nan)
    if math.isnan(value):
        return "–"
    text = f"{value:.2g}" if value >= 0.001 else f"{value:.1g}"
    return f"{AT_MOST} {text}" if value <= gain.get("smallest_p", 0) else text


def verdict(gain: Mapping[str, Any], what: str) -> tuple[str, str]:
    """Whether `what` helps: better, worse, unclear or unknown, and a sentence that says it."""
    if "low" not in gain or math.isnan(gain["low"]):
        number = int(gain.get("documents", 0))
        return "unknown", (
            f"How sure this is cannot be said: {number} documents are too few for an interval."
        )
    odds = _odds(gain)
    if gain["low"] > 0:
        return "better", f"{what} helps: {odds}."
    if gain["high"] < 0:
        return "worse", f"{what} hurts: {odds}."
    return "unclear", (
        f"Whether {what.lower()} helps is not settled: the interval holds 0, and {odds}."
    )


def _odds(gain: Mapping[Any, Any]) -> str:
    """The p-value of a gain as a clause with a frequency, e.g. "once in 1,000"."""
    p = gain["p_value"]
    base = 100 if p >= 0.095 else 1_000 if p >= 0.0095 else 10_000
    times = max(1, round(p * base))
    often = "once" if times == 1 else f"{times} times"
    if p <= gain.get("smallest_p", 0):
        often = f"{AT_MOST} {often}"
    return f"if it changed nothing, a gap this large would come up by chance {often} in {base:,}"


def metric_label(metric: str) -> str:
    """A metric's name in capitals, e.g. NDCG@10; recall@10 stays, as recall is a word."""
    return metric if metric.startswith("recall") else metric.upper()


def precision_label(precision: str) -> str:
    """A precision's name with spaces: binary_rescored as "binary, rescored"."""
    return precision.replace("_", ", ")


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as a flat one, its keys joined by dots after `prefix`."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            result |= flat(value, name)
        else:
            result[name] = value
    return result
