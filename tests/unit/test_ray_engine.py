"""What is said where Ray is not installed, and of options that are for its engine alone."""

import importlib.util

import pytest
from PIL import Image

from pagefinder import index
from pagefinder.errors import InputError
from pagefinder.indexing import ray_engine


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs ray: pip install 'pagefinder\[ray\]'"):
        ray_engine.connected(None).__enter__()


@pytest.mark.parametrize(
    "options", [["s3://bucket/scans"], ["pages", "--address", "auto"], ["pages", "--actors", "2"]]
)
def test_options_of_a_cluster_need_the_engine(tmp_path, monkeypatch, caplog, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/embedder").mkdir(parents=True)
    (tmp_path / "pages").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "pages/one.png")
    assert index.main([*options, "--models", "models"]) == 1
    assert "--address and --actors are for --engine ray: add that" in caplog.text
