"""Work in processes of which one may die."""

import os
import time

from pagefinder.runtime import pool


def square(number):
    time.sleep(0.01 * (number % 3))
    if number == 5:
        os._exit(1)
    return number * number


def lost(number):
    return -number


def test_a_crash_takes_only_its_own_task_and_order_is_kept():
    found = list(pool.run(square, list(range(9)), lost, isolate=True))
    assert found == [0, 1, 4, 9, 16, -5, 36, 49, 64]


def test_few_tasks_run_in_place():
    own = os.getpid()
    assert list(pool.run(lambda task: (task, os.getpid()), [1, 2], lost)) == [
        (1, own),
        (2, own),
    ]
