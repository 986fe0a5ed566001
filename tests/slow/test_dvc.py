"""What a person does with DVC, in a temporary clone: the commands of README.md and docs.

The tests follow each other in one clone, each leaving the workspace as committed.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dvc.api
import numpy as np
import pytest
from PIL import Image, ImageDraw
from ruamel.yaml import YAML
from sources import page, write_pdf

from pagefinder.sources.table import save_rows

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

SMALL = {
    "evaluate.bootstrap": 100,
    "mine.range_max": 10,
    "profiles.cpu.data.generated.companies": 4,
    "profiles.cpu.data.generated.years": 3,
    "profiles.cpu.compute.threads": 1,
    "profiles.cpu.pixels.max": 128 * 96,
    "profiles.cpu.embedder.batch": 16,
    "profiles.cpu.embedder.epochs": 1,
    "profiles.cpu.embedder.evaluations": 1,
    "profiles.cpu.reranker.batch": 32,
    "profiles.cpu.reranker.epochs": 1,
    "profiles.cpu.reranker.evaluations": 1,
    "profiles.cpu.reranker.negatives": 1,
    "profiles.cpu.reranker.depths": [2, 4, 6],
    "profiles.cpu.reranker.compared_depth": 4,
    "profiles.cpu.reranker.train_depth": 6,
    "profiles.cpu.reranker.dev_queries": 6,
    "profiles.cpu.reranker.fusion_queries": 6,
}


def environment() -> dict[str, str]:
    """As a user has it: this python first on the path, and bytecode written beside the code."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PATH": path}


def run(folder: Path, *command: str, check: bool = True) -> str:
    """Output of a command in the clone, with this environment's python first on the path."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def documented(folder: Path, command: str, *, upto: str = "", **names: object) -> str:
    """Run a command as it stands in README.md or docs, its placeholders filled in.

    With `upto`, a stage, a pipeline goes no further; options may stand there too.

    tests/unit/test_docs.py compares the commands of the documents with the calls of this function.
    """
    for name, value in names.items():
        assert name in command
        command = command.replace(name, str(value))
    return run(folder, "bash", "-c", f"{command} {upto}")


def restore(clone: Path) -> None:
    """The workspace as committed."""
    run(clone, "git", "checkout", "-q", "HEAD", "--", ".")  # DVC stages what it writes
    run(clone, "dvc", "checkout", "-q", "--force")


def weights(folder: Path) -> bytes:
    return (folder / "models/embedder/model.safetensors").read_bytes()


def ran(output: str) -> set[str]:
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


def tuned(text: str) -> float:
    """NDCG@10 of a metrics/embedder.json."""
    return json.loads(text)["tuned"]["ndcg@10"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A committed clone of the working tree, small params, reproduced once."""
    folder = tmp_path_factory.mktemp("clone") / "pagefinder"
    run(ROOT, "git", "clone", "-q", str(ROOT), str(folder))
    yaml = YAML()
    content = yaml.load(folder / "params.yaml")
    for path, value in SMALL.items():
        block = content
        *parts, last = path.split(".")
        for part in parts:
            block = block[part]
        block[last] = value
    yaml.dump(content, folder / "params.yaml")
    run(folder, "git", "config", "user.name", "test")
    run(folder, "git", "config", "user.email", "test@example.org")
    # This environment stands for the one that make would install.
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / ".git/info/exclude").write_text(".venv\n")
    assert documented(folder, "source .venv/bin/activate", upto="&& dvc root").strip() == "."
    said = documented(folder, "make repro", make="make -o .venv/ready")
    assert "tuned embedder" in said
    assert f"report: {folder / 'metrics/report/index.html'}" in said
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "small")
    return folder


@pytest.fixture(autouse=True)
def committed(clone):
    """Every test leaves the workspace as committed, also one that fails."""
    yield
    restore(clone)


def test_a_second_repro_runs_nothing(clone):
    assert ran(run(clone, "dvc", "repro")) == set()
    assert "up to date" in run(clone, "dvc", "status")
    assert run(clone, "git", "status", "--short") == ""


def test_bytecode_beside_the_code_changes_no_stage(clone):
    run(clone, sys.executable, "-m", "compileall", "-q", "pagefinder", "stages")
    assert list((clone / "pagefinder").rglob("*.pyc"))
    assert "up to date" in run(clone, "dvc", "status")


def test_another_clone_gets_the_same_lock(clone, tmp_path):
    """Python has written bytecode beside the code of the one and not yet of the other."""
    run(clone, sys.executable, "-m", "compileall", "-q", "pagefinder", "stages")
    other = tmp_path / "other"
    run(tmp_path, "git", "clone", "-q", str(clone), str(other))
    (other / "dvc.lock").unlink()
    assert ran(run(other, "dvc", "repro", "prepare")) == {"download", "write_queries", "prepare"}
    here, there = (YAML().load(folder / "dvc.lock")["stages"] for folder in (clone, other))
    assert there == {name: here[name] for name in there}


def test_another_word_in_the_audit_or_the_report_trains_nothing(clone):
    for name in ("mining/audit.py", "reporting/format.py"):
        with (clone / "pagefinder" / name).open("a") as file:
            file.write("# Another word.\n")
    assert ran(run(clone, "dvc", "repro")) == {"mine", "report"}


def test_a_repro_that_is_killed_with_its_stage_goes_on_to_the_same_bits(clone):
    text = (clone / "params.yaml").read_text()
    # Another training than the cache knows, with checkpoints on the way.
    text = text.replace("temperature: 0.05", "temperature: 0.06")
    text = text.replace("evaluations: 1", "evaluations: 3", 1)
    (clone / "params.yaml").write_text(text)
    started = subprocess.Popen(
        ["dvc", "repro", "train_embedder"],
        cwd=clone,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with started:
        scored = 0
        # A checkpoint follows its score: at the third the second one's is there.
        for line in started.stdout:
            scored += "dev NDCG@10" in line
            if scored == 3:
                os.killpg(started.pid, signal.SIGKILL)
    assert started.returncode == -signal.SIGKILL
    assert not (clone / "models/embedder").exists()
    again = run(clone, "dvc", "repro", "train_embedder")
    assert "resuming from checkpoint-" in again
    found = weights(clone)
    run(clone, "dvc", "repro", "--force", "--single-item", "--no-run-cache", "train_embedder")
    assert weights(clone) == found


def test_the_released_models_are_used_as_the_readme_says(clone, tmp_path):
    lines = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert "tensor([[" in run(clone, "python", "-c", lines)
    image = Image.new("RGB", (200, 150), "white")
    ImageDraw.Draw(image).text((10, 10), "Revenue 2021")
    image.save(tmp_path / "scan.png")
    image.save(tmp_path / "two.pdf", save_all=True, append_images=[image])
    (tmp_path / "notes.txt").write_text("no page")
    said = documented(
        clone,
        'python -m pagefinder.search "How did revenue develop?" --pages FOLDER --rerank',
        FOLDER=tmp_path,
    )
    ranks = [line.split(maxsplit=2) for line in said.splitlines() if line.startswith("  ")]
    assert [rank for rank, *_ in ranks] == ["1", "2", "3"]
    assert {label for *_, label in ranks} == {"scan.png", "two.pdf, page 1", "two.pdf, page 2"}
    documented(clone, "python -m pagefinder.index FOLDER", FOLDER=tmp_path)
    assert len(list((clone / ".work/index").iterdir())) == 1  # the one that the search made
    said = documented(clone, "python -m tools.parity models/release/embedder")
    assert "The same model" in said
    listed = documented(clone, "python -m tools.push")
    assert "models/release/embedder -> REPO_PREFIX-embedder" in listed
    assert "nothing was sent" in listed


def test_a_variant_is_compared_with_its_commit(clone):
    output = documented(clone, "dvc exp run -n short-vectors -S evaluate.tolerance=0.15")
    assert ran(output) <= {
        "evaluate_embedder",
        "evaluate_pixels",
        "evaluate_reranker",
        "export",
        "report",
    }
    assert "short-vectors" in documented(clone, "dvc exp show --only-changed --md")
    workspace, commit = json.loads(documented(clone, "dvc exp show --json"))
    assert workspace["rev"] == "workspace"
    assert [at["name"] for at in commit["experiments"]] == ["short-vectors"]
    said = documented(clone, "dvc params diff HEAD short-vectors")
    assert said.splitlines()[1].split() == ["params.yaml", "evaluate.tolerance", "0.05", "0.15"]
    documented(clone, "dvc metrics diff HEAD short-vectors")
    # On so few pages it may print nothing.
    documented(clone, "dvc metrics diff HEAD short-vectors --targets metrics/dimensions.json")
    restore(clone)
    assert plots(clone, documented(clone, "dvc plots diff HEAD short-vectors"))
    assert plots(clone, documented(clone, "dvc plots show"))
    assert (clone / "metrics/report/dimensions.png").is_file()
    assert run(clone, "git", "status", "--short") == ""


def plots(clone: Path, said: str) -> bool:
    """Whether DVC has written its page, with every kind of plot in it; removes it."""
    page = clone / "dvc_plots/index.html"
    text = page.read_text()
    page.unlink()
    titles = ("Embedder training", "Mined pairs by cosine", "NDCG@10 by reranking depth")
    return page.as_uri() in said and all(title in text for title in titles)


def test_a_reranker_param_reruns_no_embedder_stage(clone):
    param = "profiles.cpu.reranker.learning_rate"
    change = ("-n", "gentle", "-S", f"{param}=3e-5")
    stages = ran(run(clone, "dvc", "exp", "run", *change, "evaluate_reranker"))
    assert stages == {"candidates", "train_reranker", "evaluate_reranker"}
    shown = json.loads(run(clone, "dvc", "params", "diff", "--json", "HEAD", "gentle"))
    assert shown["params.yaml"][param]["new"] in (3e-5, "3e-05")
    assert len(shown["params.yaml"]) == 1
    assert "metrics/reranker.json" in run(clone, "dvc", "metrics", "diff", "HEAD", "gentle")


@pytest.fixture(scope="module")
def sweep(clone):
    """Experiments by what they change, from the queue: a sweep, and two more seeds."""
    values = {"0.02,0.1": "0.02,0.1", "1,2": "2", "[192,96,48,24],[192,48]": "[192,48]"}
    documented(
        clone,
        "dvc exp run --queue -S 'loss.temperature=0.02,0.1' -S 'mine.negatives=1,2' "
        "-S 'profiles.cpu.embedder.dims=[192,96,48,24],[192,48]' evaluate_embedder",
        **values,
    )
    documented(clone, "dvc exp run --queue -S 'seed=14,15' evaluate_embedder")
    documented(clone, "dvc queue start -j 1")
    late = time.monotonic() + 1800
    said = documented(clone, "dvc queue status")
    while "Queued" in said or "Running" in said:
        assert time.monotonic() < late, said
        # Asking writes a message that a worker may read half-written, and stop at: ask seldom.
        time.sleep(15)
        if "0 active, 0 idle" in said:
            documented(clone, "dvc queue start -j 1")
        said = documented(clone, "dvc queue status")
    assert len(names(said)) == 4, said
    assert run(clone, "git", "status", "--short") == ""
    found = {}
    for name in names(said):
        changed = json.loads(run(clone, "dvc", "params", "diff", "--json", "HEAD", name))
        found[name] = {key: at["new"] for key, at in changed["params.yaml"].items()}
    assert "train_embedder" in documented(clone, "dvc queue logs NAME", NAME=names(said)[0])
    documented(clone, "dvc queue remove --success")
    return found


def scores(clone: Path) -> dict[str, float]:
    """NDCG@10 of the tuned embedder by experiment."""
    experiments = json.loads(documented(clone, "dvc exp show --json"))[1]["experiments"]
    metrics = {at["name"]: at["revs"][0]["data"]["metrics"] for at in experiments}
    return {
        name: files["metrics/embedder.json"]["data"]["tuned"]["ndcg@10"]
        for name, files in metrics.items()
    }


def names(status: str) -> list[str]:
    """Names of the tasks in what `dvc queue status` prints."""
    return [line.split()[1] for line in status.splitlines() if line.endswith("Success")]


def test_a_sweep_tries_every_combination(clone, sweep):
    dims = "profiles.cpu.embedder.dims"
    grid = [at for at in sweep.values() if "seed" not in at]
    assert sorted(at["loss.temperature"] for at in grid) == [0.02, 0.1]
    assert all(at["mine.negatives"] == 2 and at[dims] == "[192, 48]" for at in grid)
    shown = documented(clone, "dvc exp show --only-changed --md")
    assert all(name in shown for name in sweep)
    known = scores(clone)
    assert all(0 <= known[name] <= 1 for name in sweep)


def cells(line: str) -> list[str]:
    """Cells of a row of a Markdown table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_seeds_have_a_spread(clone, sweep):
    assert sorted(at["seed"] for at in sweep.values() if "seed" in at) == [14, 15]
    lines = documented(clone, "python -m tools.experiments spread").splitlines()
    known = scores(clone)
    values = {13: tuned((clone / "metrics/embedder.json").read_text())}
    values |= {at["seed"]: known[name] for name, at in sweep.items() if "seed" in at}
    numbers = [values[seed] for seed in (13, 14, 15)]
    wanted = [*numbers, np.mean(numbers), np.std(numbers, ddof=1)]
    header = next(line for line in lines if "variant" in line)
    assert cells(header)[1:4] == ["seed 13", "seed 14", "seed 15"]
    found = cells(next(line for line in lines if "as committed" in line))
    assert [float(number) for number in found[1:6]] == pytest.approx(wanted, abs=6e-5)
    assert sum("loss.temperature=" in line for line in lines) == 2
    assert "recommended.dimension" in documented(
        clone, "python -m tools.experiments spread tuned.recall@1 recommended.dimension"
    )


def test_the_pipeline_is_measured_over_seeds(clone):
    two = {"13 14 15": "13 14"}
    said = documented(clone, "python -m tools.experiments seeds --seeds 13 14 15", **two)
    assert "Ran experiment(s): seeds-committed-14" in said
    seeds = json.loads((clone / "metrics/seeds.json").read_text())
    assert list(seeds) == ["13", "14"]
    assert set(seeds["14"]) == {
        "base",
        "tuned",
        "gain",
        "quarter",
        "bm25",
        "reranked",
        "reranking",
    }
    metrics = {name: json.loads((clone / f"metrics/{name}.json").read_text())
               for name in ("embedder", "reranker")}  # fmt: skip
    assert seeds["13"]["tuned"] == metrics["embedder"]["tuned"]["ndcg@10"]
    assert seeds["13"]["reranked"] == metrics["reranker"]["depth"]["4"]["tuned"]["ndcg@10"]
    assert seeds["14"] != seeds["13"]
    again = documented(clone, "python -m tools.experiments seeds --seeds 13 14 15", **two)
    assert "Ran experiment(s)" not in again
    assert json.loads((clone / "metrics/seeds.json").read_text()) == seeds
    run(clone, "dvc", "repro", "report")
    assert "Over 2 seeds, which draw" in (clone / "metrics/report/report.md").read_text()


def test_variants_are_compared_with_the_first(clone):
    said = documented(clone, "python -m tools.experiments heads --seeds 13")
    logit, dense = ([cells(line) for line in said.splitlines() if line.startswith(f"| {head} ")]
                    for head in ("logit", "dense"))  # fmt: skip
    assert float(logit[0][1]) == float(dense[0][1]) > 0  # before training
    assert float(dense[1][4]) == pytest.approx(float(dense[1][1]) - float(logit[1][1]), abs=1.1e-4)
    for head, layer in (("logit", "LogitScore"), ("dense", "Dense")):
        modules = dvc.api.read("models/reranker/modules.json", str(clone), rev=f"heads-{head}-13")
        assert json.loads(modules)[-1]["type"].rpartition(".")[2] == layer

    one = {"13 14 15": "13"}
    # Of so few pages no batch of 16 rows holds each page once.
    smaller = "-S profiles.cpu.embedder.batch=8"
    said = documented(
        clone, "python -m tools.experiments negatives --seeds 13 14 15", upto=smaller, **one
    )
    rows = [cells(line) for line in said.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["variant", "---", "random", "unfiltered", "filtered"]
    recorded = scores(clone)
    for variant, value, *_ in rows[2:]:
        name = f"negatives-{variant}-13-profiles.cpu.embedder.batch-8"
        assert float(value) == pytest.approx(recorded[name], abs=6e-5)
    assert len({row[1] for row in rows[2:]}) == 3
    assert run(clone, "git", "status", "--short") == ""


def test_one_is_promoted_and_an_old_commit_has_its_very_models(clone, sweep):
    old, before = run(clone, "git", "rev-parse", "HEAD").strip(), weights(clone)
    lock = (clone / "dvc.lock").read_bytes()
    chosen = next(name for name, at in sweep.items() if at.get("loss.temperature") == 0.1)
    documented(clone, "dvc exp branch EXPERIMENT BRANCH", EXPERIMENT=chosen, BRANCH="warm")
    documented(clone, "dvc exp apply EXPERIMENT", EXPERIMENT=chosen)
    promoted = weights(clone)
    assert promoted != before
    documented(clone, 'git commit -am "Train with EXPERIMENT"', EXPERIMENT=chosen)
    assert run(clone, "git", "status", "--short") == ""
    assert run(clone, "git", "diff", "HEAD", "warm") == ""
    documented(clone, "git checkout COMMIT", COMMIT=old)
    documented(clone, "dvc checkout")
    assert weights(clone) == before
    assert (clone / "dvc.lock").read_bytes() == lock
    assert ran(run(clone, "dvc", "repro")) == set()
    run(clone, "git", "checkout", "-q", "warm")
    run(clone, "dvc", "checkout", "-q")
    assert weights(clone) == promoted
    run(clone, "git", "checkout", "-q", old)
    run(clone, "dvc", "checkout", "-q")


def test_a_remote_shares_the_cache(clone, tmp_path):
    shelf = tmp_path / "shelf"
    documented(clone, "dvc remote add -d shelf /abs/SHELF", **{"/abs/SHELF": shelf})
    documented(clone, "dvc push")
    run(clone, "git", "commit", "-qam", "shelf")
    other = tmp_path / "other"
    run(tmp_path, "git", "clone", "-q", str(clone), str(other))
    documented(other, "dvc pull")
    assert weights(other) == weights(clone)
    for name in ("models/release/reranker/model.safetensors", "data/corpus/pages.arrow"):
        assert (other / name).read_bytes() == (clone / name).read_bytes()
    assert ran(run(other, "dvc", "repro")) == set()


def table(folder: Path) -> Path:
    """A folder of pages and the rows of question and page, as docs/data.md shows them."""
    rows = [{"query": f"Who is on page {n}?", "image": f"{n}.png"} for n in range(12)]
    for number in range(12):
        (folder / f"{number}.png").write_bytes(page(number))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def dataset(folder: Path) -> Path:
    """A dataset with the splits train and eval."""
    for name, first in (("train", 0), ("eval", 50)):
        rows = [{"query": f"q {n}", "image": page(n)} for n in range(first, first + 12)]
        save_rows(rows, folder / f"{name}.parquet")
    return folder


def manuals(folder: Path) -> Path:
    """Three small manuals with bookmarks."""
    for name, parts in {
        "pumps": ["Sealing the pump shaft", "Pressure of the outlet", "Bearings and grease"],
        "valves": ["Opening a jammed valve", "Springs for the piston", "Colour of the handle"],
        "pipes": ["Bending copper tubes", "Welding the flange", "Insulating hot lines"],
    }.items():
        body = ["Water runs downhill and nobody has to push it along."] * 6
        pages = [[(part, 18), *body, f"Number {n}"] for n, part in enumerate(parts)]
        outline = [(0, part, n) for n, part in enumerate(parts)]
        write_pdf(folder / f"{name}.pdf", pages, outline, f"The {name} book")
    return folder


def corpus(clone: Path) -> dict:
    return json.loads((clone / "metrics/corpus.json").read_text())


def test_own_data_becomes_a_corpus(clone, tmp_path):
    for name in ("table", "set", "pdf"):
        (tmp_path / name).mkdir()
    documented(
        clone,
        "dvc exp run -S profile=cpu -S profiles.cpu.data.source=table -S input=/data/invoices",
        upto="prepare",
        **{"/data/invoices": table(tmp_path / "table")},
    )
    assert sum(corpus(clone)["queries"].values()) == 12
    restore(clone)
    documented(
        clone,
        "dvc exp run -S profile=cpu -S profiles.cpu.data.source=hub "
        "-S profiles.cpu.data.hub.path=/data/my-set",
        upto="prepare",
        **{"/data/my-set": dataset(tmp_path / "set")},
    )
    assert corpus(clone)["queries"]["eval"] == 12
    restore(clone)
    documented(
        clone,
        "dvc exp run -S profile=cpu -S profiles.cpu.data.source=pdf -S input=/data/manuals",
        upto="prepare",
        **{"/data/manuals": manuals(tmp_path / "pdf")},
    )
    assert sum(corpus(clone)["pages"][split] for split in ("train", "dev", "eval")) == 9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("profiles.cpu.base.model=nano/models/nobody", "no such folder"),
        ("loss.temperature=-1", "loss.temperature is -1"),
    ],
)
def test_a_mistake_fails_in_one_line_and_leaves_nothing_half_written(clone, change, said):
    output = run(clone, "dvc", "exp", "run", "--temp", "-S", change, check=False)
    lines = [line for line in output.splitlines() if "error:" in line]
    assert any(said in line for line in lines), output[-2000:]
    assert "Traceback" not in output
    assert run(clone, "git", "status", "--short") == ""
