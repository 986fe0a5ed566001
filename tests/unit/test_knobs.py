"""Every knob of params.yaml is obeyed: each has a check that fails where the code ignores it."""

import knobs_data
import knobs_models
import knobs_release
import knobs_training
import knobs_written
import pytest
from knobs import CHECKS, ignored, knobs, params_with

from pagefinder.errors import InputError

# Knobs that no check can change and ignore, with the test that sees them instead.
ELSEWHERE = {
    "profile": "tests/unit/test_params.py: it chooses the block that all others are read from",
}
MODULES = (knobs_data, knobs_models, knobs_release, knobs_training, knobs_written)


def test_no_knob_is_forgotten():
    assert set(knobs()) - set(ELSEWHERE) == set(CHECKS)


@pytest.mark.parametrize("key", sorted(CHECKS))
def test_the_code_obeys(key, tmp_path):
    value, check = CHECKS[key]
    params = params_with(key, value)
    for name in ("obeyed", "ignored"):
        (tmp_path / name).mkdir()
    check(params, value, tmp_path / "obeyed")
    with ignored(key), pytest.raises((AssertionError, InputError, pytest.fail.Exception)):
        check(params, value, tmp_path / "ignored")
