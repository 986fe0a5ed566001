"""What tables and metrics look like on the disk."""

import json

import pandas as pd

from pagefinder.data.files import write_csv, write_json


def test_json_is_rounded(tmp_path):
    write_json({"a": 1 / 3, 10: [0.1234567]}, tmp_path / "m.json", tmp_path)
    assert json.loads((tmp_path / "m.json").read_text()) == {"a": 0.333333, "10": [0.123457]}


def test_csv_has_six_digits(tmp_path):
    write_csv(pd.DataFrame({"n": [1], "x": [1 / 3]}), tmp_path / "t.csv", tmp_path)
    assert (tmp_path / "t.csv").read_bytes() == b"n,x\n1,0.333333\n"
