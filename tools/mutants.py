"""Plant one fault at a time and see whether a test fails: `python -m tools.mutants`.

tools/mutants.yaml names the faults: file, text, what stands there instead, and the tests that
should see it. All happens in copies of the project. A fault that those tests do not see is shown to
every unit test whose imports reach its file. What came out is appended to a file, so that an
interrupted run goes on; faults that survived are planted again, since tests may have been added.
"""

import argparse
import compileall
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from queue import SimpleQueue

import yaml
from tqdm import tqdm

from pagefinder.errors import InputError
from tools.dependencies import needed

LIST = "tools/mutants.yaml"
RESULTS = ".work/mutants.jsonl"
TESTS = "tests/unit"
KILLED, SURVIVED = "killed", "survived"
FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)
TOO_LONG = "no end within the time limit"
WAITING = 10  # times the limit of processor time that tests may last, or they wait without end


@dataclass(frozen=True)
class Mutant:
    """A fault to plant.

    Attributes:
        file: Of the project.
        fault: What is wrong then, in a few words.
        old: Text that stands in the file once.
        new: What stands there instead.
        tests: That should see it: files, or tests in them, as pytest names them.
    """

    file: str
    fault: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.file}: {self.fault}"

    def planted(self, root: Path) -> str:
        """The text of the file with the fault.

        Raises:
            InputError: the file does not hold the old text exactly once.
        """
        text = (root / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise InputError(
                f"{LIST}: {self.name}: {self.old!r} stands {text.count(self.old)} times in the"
                " file, not once: name the text that stands there now"
            )
        return text.replace(self.old, self.new)


def mutants(root: Path) -> list[Mutant]:
    """The mutants of LIST, in its order."""
    files = yaml.safe_load((root / LIST).read_text(encoding="utf-8"))
    return [
        Mutant(
            file=file,
            fault=fault["fault"],
            old=fault["old"],
            new=fault["new"],
            tests=tuple(f"{TESTS}/{test}" for test in fault["tests"]),
        )
        for file, faults in files.items()
        for fault in faults
    ]


def digest(mutant: Mutant, root: Path) -> str:
    """Hash of the file with the fault: a result counts for as long as it stays."""
    return hashlib.sha256(mutant.planted(root).encode()).hexdigest()[:16]


def killed_before(root: Path, results: Path) -> dict[str, str]:
    """Digest of each mutant that an earlier run killed -> the test that did."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    records = map(json.loads, lines)
    return {row["digest"]: row["by"] for row in records if row["outcome"] == KILLED}


def tests_that_reach(root: Path, file: str) -> list[str]:
    """The test files of TESTS whose imports, their own helpers' included, reach a file."""

    def modules(test: Path, seen: set[Path]) -> Iterator[Path]:
        seen.add(test)
        yield test
        for name in re.findall(r"^\s*(?:from|import) (\w+)", test.read_text("utf-8"), re.M):
            helper = test.with_name(f"{name}.py")
            if helper.exists() and helper not in seen:
                yield from modules(helper, seen)

    return [
        test.relative_to(root).as_posix()
        for test in sorted((root / TESTS).glob("test_*.py"))
        if any(
            file in needed(root, module.relative_to(root).as_posix())
            for module in modules(test, set())
        )
    ]


def copy(root: Path, target: Path) -> None:
    """Copy the project's files, those that Git does not ignore, to the folder `target`.

    Its bytecode is told by a hash of the source: a fault may change neither time nor size.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)
    compileall.compile_dir(target, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)


def failing(root: Path, tests: Iterable[str], seconds: float, *, first: bool) -> list[str]:
    """The tests that fail in a copy of the project; with `first` no more than one.

    `seconds` are of processor time: what other programs take of the machine ends no test.

    Raises:
        InputError: pytest itself could not run.
    """
    limited = ["sh", "-c", f'ulimit -S -t {math.ceil(seconds)} && exec "$@"', "sh", sys.executable]
    command = [*limited, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
    settings = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [*command, *(["-x"] if first else []), *tests],
            cwd=root,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=WAITING * seconds,
        )
    except subprocess.TimeoutExpired:
        return [TOO_LONG]
    if done.returncode in (0, -signal.SIGXCPU):
        return [TOO_LONG] if done.returncode else []
    found = FAILED.findall(done.stdout)
    # 1: tests failed, 2: a test file could not be imported
    if done.returncode not in (1, 2) or not found:
        end = " ".join(f"{done.stdout} {done.stderr}".split())[-300:]
        raise InputError(f"pytest {' '.join(tests)} ended with {done.returncode}: ...{end}")
    return found


def killer(mutant: Mutant, root: Path, seconds: float, *, further: bool) -> str:
    """The test that fails in a copy of the project with the fault; empty where none does.

    With `further` all tests that reach its file are run where the named ones pass.
    """
    path = root / mutant.file
    sound = path.read_text(encoding="utf-8")
    path.write_text(mutant.planted(root), encoding="utf-8")
    try:
        seen = failing(root, mutant.tests, seconds, first=True)
        if seen or not further:
            return "".join(seen)
        others = failing(root, tests_that_reach(root, mutant.file), 4 * seconds, first=False)
    finally:
        path.write_text(sound, encoding="utf-8")
    if others == [TOO_LONG]:
        return TOO_LONG
    # A test that also fails without the fault has not seen it.
    anyway = failing(root, others, 4 * seconds, first=False) if others else []
    return next((test for test in others if test not in anyway), "")


@contextmanager
def copies(root: Path, count: int) -> Iterator["SimpleQueue[Path]"]:
    """Within the block, `count` copies of the project, for one process each."""
    folders: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        for number in range(count):
            folder = Path(scratch, str(number))
            copy(root, folder)
            folders.put(folder)
        yield folders


def run(
    root: Path,
    chosen: Sequence[Mutant],
    results: Path,
    *,
    processes: int = 1,
    seconds: float = 300,
    further: bool = True,
) -> dict[str, str]:
    """Plant the chosen mutants, those aside that an earlier run killed.

    Args:
        root: Of the project.
        chosen: Mutants of it.
        results: File that results are appended to.
        processes: How many mutants are tried at a time.
        seconds: Of processor time for a mutant's named tests; four times that for further ones.
        further: Run further tests where the named ones pass.

    Returns:
        Name of each mutant -> the test that failed, empty where none did.

    Raises:
        InputError: a mutant does not fit the code, or a test fails without any fault.
    """
    before = killed_before(root, results)
    seen = {m.name: before[digest(m, root)] for m in chosen if digest(m, root) in before}
    todo = [mutant for mutant in chosen if mutant.name not in seen]
    results.parent.mkdir(parents=True, exist_ok=True)
    with copies(root, processes) as folders, ThreadPoolExecutor(processes) as executor:
        named = sorted({test for mutant in todo for test in mutant.tests})
        folder = folders.get()
        if wrong := failing(folder, named, 20 * seconds, first=False) if named else []:
            raise InputError(f"without any fault fails {', '.join(wrong)}: mend that first")
        folders.put(folder)

        def plant(mutant: Mutant) -> tuple[Mutant, str]:
            folder = folders.get()
            try:
                return mutant, killer(mutant, folder, seconds, further=further)
            finally:
                folders.put(folder)

        for mutant, test in tqdm(executor.map(plant, todo), total=len(todo), unit="mutant"):
            seen[mutant.name] = test
            outcome = KILLED if test else SURVIVED
            line = {"mutant": mutant.name, "outcome": outcome, "by": test}
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | {"digest": digest(mutant, root)}) + "\n")
    return {mutant.name: seen[mutant.name] for mutant in chosen}


def table(seen: dict[str, str]) -> str:
    """What became of the mutants, by package, and each one that no test saw."""
    packages: dict[str, list[bool]] = {}
    for name, test in seen.items():
        package = name.partition(":")[0].rpartition("/")[0]
        packages.setdefault(package, []).append(bool(test))
    rows = [*packages.items(), ("all", [bool(test) for test in seen.values()])]
    lines = [f"{sum(killed):4} of {len(killed):4} killed  {name}" for name, killed in rows]
    return "\n".join([*lines, *(f"survived: {name}" for name, test in seen.items() if not test)])


def main() -> int:
    """Run as the command line says, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-j", "--processes", type=int, default=1)
    parser.add_argument("--only", default="", help="those whose file or fault holds this text")
    parser.add_argument("--seconds", type=float, default=300, help="processor time for its tests")
    parser.add_argument("--named", action="store_true", help="run only the tests of the list")
    parser.add_argument("--results", type=Path, default=Path(RESULTS))
    options = parser.parse_args()
    chosen = [mutant for mutant in mutants(Path()) if options.only in mutant.name]
    try:
        seen = run(
            Path(),
            chosen,
            options.results,
            processes=options.processes,
            seconds=options.seconds,
            further=not options.named,
        )
    except InputError as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(table(seen) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
