"""The reports of the source `generated`: company, year, split and metrics."""

import itertools
import random
from dataclasses import dataclass

from pagefinder.params import Generated
from pagefinder.sources.generated.invented import FIRST_NAMES, LAST_NAMES, METRICS


@dataclass(frozen=True)
class Report:
    """One company's report of one year: what is on its pages."""

    company: str
    year: int
    split: str
    metrics: tuple[str, ...]  # in random order; each kind of page takes its share

    @property
    def document_id(self) -> str:
        """Name of the report, e.g. `alder-foods-2021`."""
        return f"{self.company}-{self.year}".lower().replace(" ", "-")


def companies(count: int) -> list[str]:
    """`count` names such that each first and each last name is shared by several companies."""
    most = len(FIRST_NAMES) * len(LAST_NAMES)
    if count > most:
        raise ValueError(f"{count} companies, but there are names for {most} only")
    # Walk diagonally through the table of names, so that few companies already share both parts.
    pairs = (
        (FIRST_NAMES[number // 2 % len(FIRST_NAMES)], LAST_NAMES[(number * 3 + lap) % 8])
        for lap in range(8)
        for number in range(2 * len(FIRST_NAMES))
    )
    names = dict.fromkeys(f"{first} {last}" for first, last in pairs)
    return list(itertools.islice(names, count))


def reports(settings: Generated, seed: int) -> list[Report]:
    """The report of each company and year; a share `eval_share` of them is in split eval."""
    years = range(2024 - settings.years, 2024)
    pairs = [(company, year) for company in companies(settings.companies) for year in years]
    rng = random.Random(f"reports {seed}")
    held_out = set(rng.sample(pairs, max(1, round(len(pairs) * settings.eval_share))))
    return [
        Report(
            company,
            year,
            "eval" if (company, year) in held_out else "train",
            tuple(rng.sample(list(METRICS), 11)),
        )
        for company, year in pairs
    ]
