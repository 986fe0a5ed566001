"""When the search says that no page answers, and how often that is right."""

from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table
from pagefinder.systems import BASE, RERANKER, TUNED_AT, WITH_BM25, label

# Shares of rule_shares that the table shows, and the header of each.
CASES = {
    "denied_answered": "answered, denied all the same",
    "denied_without_page": "its pages left out: denied",
    "denied_without_document": "its documents left out: denied",
}


def section(inputs: Inputs) -> Section:
    """The rules that dev chose, by system, and the shares of questions that they deny."""
    section = Section("answers", "No answer", "When does no page answer?")
    rules = dict(inputs.answers)
    if "answers" in inputs.reranker:
        rules[RERANKER] = inputs.reranker["answers"]
    if not rules:
        section.answer.append("Not measured: dev has no question to choose a threshold by.")
        return section
    dimension = inputs.dimensions["recommended"]["dimension"] if inputs.dimensions else 0
    shipped = {f"{TUNED_AT}{dimension}{end}" for end in ("", WITH_BM25)} | {RERANKER}
    names = [name for name in rules if name in shipped] or list(rules)
    parts = [
        f"by the scores of {label(name)} {_percent(rules[name]['eval']['denied_without_page'])} of "
        f"the held-out questions whose pages were left out are denied, "
        f"{_percent(rules[name]['eval']['denied_without_document'])} once their whole documents "
        f"are, and {_percent(rules[name]['eval']['denied_answered'])} of those that a page answers"
        for name in names
    ]
    section.answer.append(
        "Some page always comes first. A question is denied, told that no page answers it, where "
        "its best page scores below a threshold. Dev chose the threshold so that 5% of its "
        "answered questions are denied at most."
    )
    section.answer.append(f"Of the release: {'; '.join(parts)}.")
    section.answer.append(
        "A page beside the one that answers often looks alike, so most of what is denied are "
        "questions about documents that are not there. Among more pages the best score is higher, "
        "and less is denied: take the word as a hint."
    )
    rows = [
        [
            label(name),
            split,
            f"{rule[split]['area']:.3f}",
            *(_percent(rule[split][case]) for case in CASES),
        ]
        for name, rule in rules.items()
        if name in shipped or name in (BASE, BASE + WITH_BM25)
        for split in ("dev", "eval")
    ]
    header = ["scores of", "questions", "area under the ROC curve", *CASES.values()]
    section.tables.append(
        Table("Questions told that no page answers (dev chose, eval measures)", header, rows)
    )
    return section


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
