"""What the model libraries print while models are opened and saved."""

import io
import logging

import pytest
from sentence_transformers import SentenceTransformer
from tiny import write_text_model
from transformers.utils import logging as transformers_logging

from pagefinder.models import opening

assert opening  # importing it settles what is printed
NOTE = "sentence_transformers.base.model"


class Terminal(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self) -> bool:
        return True


def test_models_open_and_save_without_a_line(tmp_path, capsys, caplog) -> None:
    write_text_model(tmp_path / "model")
    capsys.readouterr()
    transformers_logging.warning_once.cache_clear()
    prompts = {"prompts": {"query": "Find: "}, "default_prompt_name": "query"}
    model = SentenceTransformer(str(tmp_path / "model"), device="cpu", **prompts)
    model.save(str(tmp_path / "saved"))
    assert "\n".join(capsys.readouterr()) == "\n"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_warning_of_the_same_library_stays(caplog) -> None:
    logging.getLogger(NOTE).warning("the weights are not all there")
    assert "the weights are not all there" in caplog.text


@pytest.mark.parametrize(("file", "shown"), [(Terminal(), True), (io.StringIO(), False)])
def test_weights_that_take_their_time_have_a_bar_on_a_terminal(file, shown, monkeypatch) -> None:
    monkeypatch.setattr("pagefinder.models.library_output.BAR_AFTER", -1.0)
    list(transformers_logging.tqdm(range(3), desc="Loading weights", file=file))
    assert ("Loading weights" in file.getvalue()) == shown
