"""Write what README.md repeats from the last run: results and stages, between their markers.

`python -m stages.readme --check` writes nothing and fails where the README is stale. The params as
committed, against which the report compares a run, are refreshed beside it.
"""

import ast
import json
import sys
from pathlib import Path

import yaml

from pagefinder import params
from stages import summary

README = Path("README.md")
DEFAULTS = Path("pagefinder/reporting/defaults.json")  # read by the report
TOP = (
    ("dvc.yaml", "The pipeline: what each stage runs, reads and writes"),
    ("params.yaml", "Every knob, with the reason for its value"),
    ("stages/", "One thin module a stage; also summary, readme and push"),
    ("nano/", "How the small bundled base models are made, and their weights"),
    ("benchmarks/", "Speed and memory, as ratios"),
    ("tests/", "unit, pipeline, slow, gpu"),
    ("data/ models/ metrics/", " What the stages write"),
    ("docs/", "Architecture, data, GPUs, experiments, contributing"),
    ("pagefinder/", "The library, which knows nothing of DVC"),
)


def results(root: Path) -> str:
    """NDCG@10 of every system, and of base and tuned by dimension."""
    rows = [
        [name, *(cell.replace("-", "−") for cell in cells)] for name, *cells in summary.scores(root)
    ]
    if not rows:
        return "No run has been recorded yet."
    dimensions = summary.metrics(root, "dimensions")
    text = table(["", "NDCG@10", "gain", "95% interval", "p"], rows)
    if not dimensions:
        return text
    names = list(dimensions["dims"])
    by_model = [
        [model, *(f"{dimensions['dims'][name][model]['ndcg@10']:.4f}" for name in names)]
        for model in ("base", "tuned")
    ]
    cost = ["bytes per page", *(f"{4 * int(name):,}" for name in names)]
    choice = dimensions["recommended"]["dimension"]
    return (
        f"{text}\n\n{table(['dimensions', *names], [*by_model, cost])}\n\n"
        f"Recommended by the development split: {choice} dimensions."
    )


def stage_table(root: Path) -> str:
    """Every stage of dvc.yaml: what it does, what it writes."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    rows = []
    for name, stage in stages.items():
        written = [
            next(iter(entry)) if isinstance(entry, dict) else entry
            for key in ("outs", "metrics", "plots")
            for entry in stage.get(key, [])
        ]
        outputs = ", ".join(f"`{path}`" for path in written).replace("${item.name}", "NAME")
        rows.append([f"`{name}`", stage.get("desc", "").replace("|", "\\|"), outputs])
    return table(["stage", "what it does", "outputs"], rows)


def files(root: Path) -> str:
    """The file tree: folders in words, the library's modules by their first line."""
    lines = [f"{name:<22}{text}" for name, text in TOP]
    library = [
        path
        for path in sorted((root / "pagefinder").glob("*"))
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    ]
    for path in library:
        module = path if path.suffix else path / "__init__.py"
        said = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
        if path.name not in ("__init__.py", "__pycache__"):
            name = path.name if path.suffix else f"{path.name}/"
            lines.append(f"  {name:<20}{said.partition(chr(10))[0].rstrip('.')}")
    return "\n".join(["```", *lines, "```"])


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def filled(text: str, parts: dict[str, str]) -> str:
    """The README with every part between `<!-- NAME -->` and `<!-- /NAME -->` replaced.

    Raises:
        ValueError: a marker is missing.
    """
    for name, part in parts.items():
        first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if text.count(first) != 1 or text.count(last) != 1:
            raise ValueError(f"README.md needs {first.strip()} and {last}, each once on a line")
        before, _, rest = text.partition(first)
        text = f"{before}{first}{part}\n{last}{rest.partition(last)[2]}"
    return text


def main(root: Path = Path(), *, check: bool = False) -> int:
    """Write README.md and the committed params; with `check` only say whether they are current."""
    readme, defaults = root / README, root / DEFAULTS
    old = readme.read_text(encoding="utf-8")
    parts = {"results": results(root), "stages": stage_table(root), "files": files(root)}
    new = filled(old, parts)
    committed = json.dumps(params.read(root / "params.yaml"), indent=2) + "\n"
    stale = [readme.name] if new != old else []
    stale += [defaults.name] if defaults.read_text(encoding="utf-8") != committed else []
    if check:
        if stale:
            sys.stderr.write(f"{' and '.join(stale)}: stale; run `make readme`\n")
        return int(bool(stale))
    readme.write_text(new, encoding="utf-8")
    defaults.write_text(committed, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
