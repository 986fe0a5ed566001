"""Write the tables of README.md and docs/architecture.md from the last run, dvc.yaml and the code.

`python -m tools.readme --check` writes nothing and fails where a file is stale: its figures must be
the workspace's or, after an experiment there, the commit's, and those that dvc.lock has.
The params as committed, against which the report compares a run, are refreshed beside them.
"""

import argparse
import ast
import hashlib
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from pagefinder import params_file
from pagefinder.systems import BASE, TUNED
from tools import summary

README = Path("README.md")
ARCHITECTURE = Path("docs/architecture.md")
DEFAULTS = Path("pagefinder/reporting/sections/defaults.json")  # read by the report
RECORDED = "Recorded on"  # begins the sentence of `recorded`
BFLOAT16 = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX"}  # flags of Linux, and their names
FIGURES = (
    "embedder",
    "dimensions",
    "fusion",
    "reranker",
)  # metrics whose numbers README.md repeats
# What the list of files says of folders that hold no package.
FOLDERS = (
    ("dvc.yaml", "The pipeline: what each stage runs, reads and writes"),
    ("params.yaml", "Every knob, with the reason for its value"),
    ("data/ models/ metrics/", "What the stages write"),
    ("nano/", "How the small bundled base models are made, and their weights"),
    ("benchmarks/", "Speed and memory, as ratios"),
    ("tests/", "unit, pipeline, slow, gpu"),
    ("docs/", 'What README.md lists under "More", with its pictures'),
)


def results(root: Path) -> str:
    """Markdown tables of NDCG@10: by system, and of base and tuned by dimension."""
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
        for model in (BASE, TUNED)
    ]
    cost = ["bytes per page", *(f"{4 * int(name):,}" for name in names)]
    recommended = dimensions["recommended"]["dimension"]
    return (
        f"{text}\n\n{table(['dimensions', *names], [*by_model, cost])}\n\n"
        f"Recommended by the development split: {recommended} dimensions"
        f"{summary.certainty(dimensions)}."
    )


def recorded(text: str, figures: str) -> str:
    """The sentence on the processor that made the figures.

    It stays where README.md, whose text is `text`, has these figures already: they are another
    machine's, perhaps. New figures are this machine's.
    """
    _, there, after = text.partition(f"{figures}\n\n")
    sentence = after.partition("\n")[0]
    if there and sentence.startswith(RECORDED):
        return sentence
    return f"{RECORDED} {processor(Path('/proc/cpuinfo'))}."


def processor(cpuinfo: Path) -> str:
    """What decides the rounding: the architecture, and its instructions for bfloat16 products."""
    flags = set(cpuinfo.read_text(encoding="utf-8").split()) if cpuinfo.is_file() else set()
    names = [name for flag, name in BFLOAT16.items() if flag in flags]
    others = [name for flag, name in BFLOAT16.items() if flag not in flags]
    parts = [f"with {' and '.join(names)}"] * bool(names)
    parts += [f"without {' and '.join(others)}"] * bool(others)
    return f"a processor of the kind {platform.machine()} {' but '.join(parts)}"


def stage_table(root: Path) -> str:
    """A Markdown table of the stages of dvc.yaml: what each does and writes."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    rows = []
    for name, stage in stages.items():
        paths = [
            next(iter(entry)) if isinstance(entry, dict) else entry
            for key in ("outs", "metrics", "plots")
            for entry in stage.get(key, [])
        ]
        outputs = ", ".join(f"`{path}`" for path in paths).replace("${item.name}", "NAME")
        rows.append([f"`{name}`", stage.get("desc", "").replace("|", "\\|"), outputs])
    return table(["stage", "what it does", "outputs"], rows)


def files(root: Path) -> str:
    """The list of files: folders, then packages and the modules beside them by their docstring."""
    lines = [f"{name:<24}{text}" for name, text in FOLDERS]
    for package in ("stages", "tools", "pagefinder"):
        lines.append(f"{package + '/':<24}{_first_line(root / package / '__init__.py')}")
    for path in sorted((root / "pagefinder").iterdir()):
        if (path / "__init__.py").is_file():
            lines.append(f"  {path.name + '/':<22}{_first_line(path / '__init__.py')}")
        elif path.suffix == ".py" and path.name != "__init__.py":
            lines.append(f"  {path.name:<22}{_first_line(path)}")
    return "\n".join(["```", *lines, "```"])


def _first_line(module: Path) -> str:
    """The first line of a module's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].rstrip(".")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def fill(text: str, parts: dict[str, str], path: Path) -> str:
    """The text of `path` with every part between `<!-- NAME -->` and `<!-- /NAME -->` replaced.

    Raises:
        ValueError: a marker is missing.
    """
    for name, part in parts.items():
        first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if text.count(first) != 1 or text.count(last) != 1:
            raise ValueError(f"{path} needs {first.strip()} and {last}, each once on a line")
        before, _, rest = text.partition(first)
        text = f"{before}{first}{part}\n{last}{rest.partition(last)[2]}"
    return text


def current(root: Path, record: Path) -> dict[Path, str]:
    """The text that each file should have, by its path from the root.

    Args:
        root: The project's folder.
        record: Folder with the run's params and metrics: the root, or a copy of the commit's.
    """
    figures = results(record)
    sentence = recorded((root / README).read_text(encoding="utf-8"), figures)
    parts = {
        README: {"results": f"{figures}\n\n{sentence}"},
        ARCHITECTURE: {"stages": stage_table(root), "files": files(root)},
    }
    texts = {
        path: fill((root / path).read_text(encoding="utf-8"), parts_of_file, path)
        for path, parts_of_file in parts.items()
    }
    content = params_file.read(record / "params.yaml")
    return texts | {DEFAULTS: json.dumps(content, indent=2) + "\n"}


def unrecorded(root: Path) -> list[str]:
    """Metrics files whose hash is not that of dvc.lock: edited, or committed without dvc.lock."""
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
    """Files that differ from their text in `current`, and the `unrecorded` metrics of `record`."""
    texts = current(root, record)
    paths = [path for path in texts if (root / path).read_text(encoding="utf-8") != texts[path]]
    metrics = [f"{path} (not the one of dvc.lock)" for path in unrecorded(record)]
    return [*map(str, paths), *metrics]


def copy_commit(root: Path, folder: Path) -> None:
    """Copy params, metrics and lock of the commit into `folder`, as far as Git has them."""
    (folder / "metrics").mkdir()
    for path in ("params.yaml", "dvc.lock", *(f"metrics/{name}.json" for name in FIGURES)):
        shown = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=root, capture_output=True)
        if shown.returncode == 0:
            (folder / path).write_bytes(shown.stdout)


def check(root: Path) -> int:
    """Return 1 and name the stale files, if there are any; else 0."""
    names = stale(root, root)
    if not names:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder)
        copy_commit(root, record)
        if (record / "params.yaml").is_file() and not stale(root, record):
            return 0
    sys.stderr.write(f"{', '.join(names)}: stale; run `make readme`\n")
    return 1


def main(root: Path = Path()) -> int:
    """Write all files of `current`."""
    for path, text in current(root, root).items():
        (root / path).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a file is stale")
    sys.exit(check(Path()) if parser.parse_args().check else main())
