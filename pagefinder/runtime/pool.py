"""Run tasks in several processes, so that a process that dies loses only its own task."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from pagefinder.runtime import interrupts

Task = TypeVar("Task")
Result = TypeVar("Result")

# Below this many tasks the start of processes costs more than it saves.
FEWEST = 4
# Tasks per worker that are submitted at a time: bounds the results that wait in memory.
AHEAD = 4


def run(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    crashed: Callable[[Task], Result],
    isolate: bool = False,
) -> Generator[Result, None, None]:
    """Yield `function(task)` in the order of the tasks, or `crashed(task)` where its process died.

    Args:
        function: Importable by name; runs in new processes, as a fork of a process with threads may
            hang.
        tasks: Picklable.
        crashed: Makes the result of a task that killed its process twice.
        isolate: Use processes even for few tasks: the function runs native code on foreign files.
    """
    if len(tasks) < FEWEST and not isolate:
        yield from map(function, tasks)
        return
    workers = min(os.cpu_count() or 1, len(tasks), 16)
    done = 0
    while done < len(tasks):
        try:
            for result in _pooled(function, tasks[done:], workers):
                yield result
                done += 1
        except BrokenProcessPool:
            yield _alone(function, tasks[done], crashed)
            done += 1


def _pooled(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[Result]:
    """Yield the results in order, with at most workers * AHEAD tasks submitted or waiting.

    What waits has not been read yet: the bound keeps finished results from filling the memory.
    """
    with _workers(workers) as pool:
        window = [_submit(pool, function, task) for task in tasks[: workers * AHEAD]]
        for number in range(len(tasks)):
            next_task = number + workers * AHEAD
            result = window.pop(0).result()
            if next_task < len(tasks):
                window.append(_submit(pool, function, tasks[next_task]))
            yield result


@contextlib.contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` new processes; where the block fails they end in the middle of their tasks.

    A task that is left in the middle leaves no partial file, and the next run does it again.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, interrupts.end_with_parent)
    try:
        yield pool
    except BaseException:
        for process in list(pool._processes.values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor, function: Callable[[Task], Result], task: Task
) -> Future[Result]:
    """Give a task to the pool, which may start a process for it."""
    with interrupts.held_back():
        return pool.submit(function, task)


def _alone(
    function: Callable[[Task], Result], task: Task, crashed: Callable[[Task], Result]
) -> Result:
    """The result of one task in a pool of its own, or `crashed(task)` where its process dies again.

    Another task may have broken the pool before.
    """
    try:
        return next(_pooled(function, [task], 1))
    except BrokenProcessPool:
        return crashed(task)
