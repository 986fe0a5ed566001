"""The words of the embedded default: names, metrics and what befell them, all invented.

The order of each list decides what a seed draws.
"""

import json
from pathlib import Path
from typing import NamedTuple


class Metric(NamedTuple):
    """What a question may call a metric instead of its name, and its unit."""

    aliases: tuple[str, ...]
    unit: str


_words = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
FIRST_NAMES: list[str] = _words["first_names"]
LAST_NAMES: list[str] = _words["last_names"]
METRICS = {name: Metric(tuple(m["aliases"]), m["unit"]) for name, m in _words["metrics"].items()}
# What a page gives as the cause of a change, and how a question puts it in other words.
CAUSES: dict[str, str] = _words["causes"]
QUARTERS = {1: "first", 2: "second", 3: "third", 4: "fourth"}
REGIONS = ("North", "South", "East", "West", "Centre")
SEGMENTS = ("Retail", "Online", "Export", "Leasing", "Service")
