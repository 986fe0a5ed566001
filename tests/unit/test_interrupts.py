"""Ctrl-C as a terminal sends it: to the whole process group of a stage."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import stage_environment

ROOT = Path(__file__).parents[2]
# A stage whose pool of two processes works on tasks that take a minute.
SLOW_TASKS = """
import time
from pathlib import Path
from pagefinder.runtime import pool
from stages import run

def slow(number):
    Path(f"task-{number}").touch()
    time.sleep(60)

def main(params, root):
    list(pool.run(slow, range(9), slow, isolate=True))

if __name__ == "__main__":
    run(main)
"""


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """Start Python in `folder` as the first process of a group in the foreground."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=stage_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # The tests themselves may run in the background of a shell, where Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("module", ["prepare", "encode", "train_embedder"])
@pytest.mark.parametrize("blocked", ["yaml", "pandas"])
def test_ctrl_c_while_a_stage_imports_is_one_line(tmp_path, module, blocked):
    (tmp_path / f"{blocked}.py").write_text(
        "import time\nprint('importing', flush=True)\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    raise ImportError('a C module')\n"
    )
    path = os.pathsep.join(map(str, (tmp_path, ROOT)))
    process = start(tmp_path, "-m", f"stages.{module}", PYTHONPATH=path)
    assert process.stdout.readline() == "importing\n"
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert said == f"{module}: interrupted; the next `dvc repro` goes on from here\n"
    assert process.returncode == 130


def test_importing_the_stages_elsewhere_leaves_ctrl_c_alone(tmp_path):
    code = "import signal, stages; print(signal.getsignal(2) is signal.default_int_handler)"
    process = start(tmp_path, "-c", code)
    assert process.communicate()[0] == "True\n"


def test_a_stage_in_the_background_of_a_shell_goes_on(tmp_path):
    code = "import os, sys; sys.argv[0] = '-m'; import stages; os.kill(os.getpid(), 2); print('on')"
    command = ["sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, code]
    done = subprocess.run(command, env=stage_environment(), capture_output=True, text=True)
    assert done.stdout == "on\n", done.stderr


def wait_for_tasks(folder: Path) -> None:
    """Return when two tasks have begun."""
    while len(list(folder.glob("task-*"))) < 2:
        time.sleep(0.05)


def test_ctrl_c_ends_the_processes_of_a_pool_at_once_and_unheard(tmp_path):
    (tmp_path / "slow_tasks.py").write_text(SLOW_TASKS)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    process = start(tmp_path, "slow_tasks.py")
    wait_for_tasks(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    # Nine tasks of a minute each by two processes: to wait for them would take longer.
    said, _ = process.communicate(timeout=50)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1].endswith("interrupted; the next `dvc repro` goes on from here")


def test_the_processes_of_a_pool_end_with_a_killed_stage(tmp_path):
    (tmp_path / "slow_tasks.py").write_text(SLOW_TASKS)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    process = start(tmp_path, "slow_tasks.py")
    wait_for_tasks(tmp_path)
    process.kill()
    # The output ends when no process holds it any more, long before the tasks would.
    process.communicate(timeout=50)
