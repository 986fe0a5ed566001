"""What holds for every source, also for one that is added."""

import pytest
import yaml
from sources import ROOT, with_params

from pagefinder.errors import InputError
from pagefinder.params import Data
from pagefinder.sources import traits
from pagefinder.sources.opening import open_chosen_source
from tools import dependencies

SOURCES = sorted(set(Data.model_fields) - {"source"})


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_opened_by_its_name(name, tmp_path):
    try:
        source = open_chosen_source(with_params(name, input="raw"), tmp_path)
    except InputError as error:  # without files of the user's own
        assert "input" in str(error) or f"data.{name}" in str(error)
    else:
        assert source.name == name


@pytest.mark.parametrize("name", SOURCES)
def test_a_change_in_the_code_of_any_source_reruns_download(name):
    download = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["download"]
    module = ROOT / f"pagefinder/sources/{name}.py"
    files = [module] if module.exists() else sorted((ROOT / f"pagefinder/sources/{name}").iterdir())
    code = [file for file in files if file.suffix == ".py" and file.name != "__init__.py"]
    listed = dependencies.code_of(ROOT, download)
    assert code
    assert {file.relative_to(ROOT).as_posix() for file in code} <= set(listed)


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_says_what_share_of_its_documents_is_evaluated(name):
    assert 0 <= getattr(with_params(name).data, name).eval_share <= 1


def test_sources_that_differ_exist():
    assert set(traits._TRAITS) <= set(SOURCES)
