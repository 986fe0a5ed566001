"""Write what README.md repeats from the last run: results and stages, between their markers.

`python -m tools.readme --check` writes nothing and fails where the README is stale: its figures
must be the workspace's or, after an experiment there, the commit's, and those that dvc.lock has.
The params as committed, against which the report compares a run, are refreshed beside it.
"""

import ast
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from pagefinder import params
from tools import summary

README = Path("README.md")
DEFAULTS = Path("pagefinder/reporting/sections/defaults.json")  # read by the report
FIGURES = ("embedder", "dimensions", "reranker")  # metrics whose numbers the README repeats
TOP = (
    ("dvc.yaml", "The pipeline: what each stage runs, reads and writes"),
    ("params.yaml", "Every knob, with the reason for its value"),
    ("stages/", "One thin module a stage; also summary, spread, plan, readme and push"),
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


def unrecorded(root: Path) -> list[str]:
    """Metrics that are not the ones of dvc.lock: written by hand, or committed without it."""
    lock = root / "dvc.lock"
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"] if lock.is_file() else {}
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    return [
        path
        for path in (f"metrics/{name}.json" for name in FIGURES)
        if (root / path).is_file()
        if hashlib.md5((root / path).read_bytes(), usedforsecurity=False).hexdigest()
        != outs.get(path)
    ]


def stale(root: Path, record: Path) -> list[str]:
    """What does not repeat the run in `record`: README.md, the params, or its own metrics."""
    text = (root / README).read_text(encoding="utf-8")
    parts = {"results": results(record), "stages": stage_table(root), "files": files(root)}
    names = [README.name] if filled(text, parts) != text else []
    names += (
        [DEFAULTS.name] if (root / DEFAULTS).read_text(encoding="utf-8") != _params(record) else []
    )
    return names + [f"{path} (not the one of dvc.lock)" for path in unrecorded(record)]


def committed(root: Path, folder: Path) -> Path:
    """Params, metrics and lock of the commit, written into `folder`; nothing where Git has none."""
    (folder / "metrics").mkdir()
    for path in ("params.yaml", "dvc.lock", *(f"metrics/{name}.json" for name in FIGURES)):
        shown = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=root, capture_output=True)
        if shown.returncode == 0:
            (folder / path).write_bytes(shown.stdout)
    return folder


def _params(root: Path) -> str:
    return json.dumps(params.read(root / "params.yaml"), indent=2) + "\n"


def check(root: Path) -> int:
    """Say what is stale; 1 if anything is."""
    found = stale(root, root)
    if found:
        with tempfile.TemporaryDirectory() as folder:
            record = committed(root, Path(folder))
            if (record / "params.yaml").is_file() and not stale(root, record):
                return 0
        sys.stderr.write(f"{' and '.join(found)}: stale; run `make readme`\n")
    return int(bool(found))


def main(root: Path = Path()) -> int:
    """Write README.md and the committed params."""
    text = (root / README).read_text(encoding="utf-8")
    parts = {"results": results(root), "stages": stage_table(root), "files": files(root)}
    (root / README).write_text(filled(text, parts), encoding="utf-8")
    (root / DEFAULTS).write_text(_params(root), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(check(Path()) if "--check" in sys.argv[1:] else main())
