"""`dvc plots`: every table it draws has a template, and the columns that it is told to draw."""

import json

import pandas as pd
import report_inputs
import yaml
from report_inputs import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PLOTS = {
    path: settings
    for entries in (PIPELINE["plots"], *(s.get("plots", []) for s in PIPELINE["stages"].values()))
    for entry in entries
    for path, settings in entry.items()
}


def test_templates_are_there_and_take_the_data() -> None:
    assert len(PLOTS) == 7
    for path, settings in PLOTS.items():
        text = (ROOT / ".dvc/plots" / f"{settings['template']}.json").read_text()
        assert json.loads(text)["data"]["values"] == "<DVC_METRIC_DATA>", path
        assert "<DVC_METRIC_X>" in text
        assert "<DVC_METRIC_Y>" in text


def test_the_columns_exist(tmp_path) -> None:
    report_inputs.write(tmp_path)
    for path, settings in PLOTS.items():
        columns = pd.read_csv(tmp_path / path).columns
        assert {settings["x"], settings["y"]} <= set(columns), path
        series = {"series": {"model", "split", "group"}, "panels": {"metric"}}
        assert series[settings["template"]] & set(columns) or path.endswith("pixels.csv")
