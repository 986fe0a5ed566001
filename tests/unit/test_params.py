from pathlib import Path

import pytest
import yaml

from pagefinder import params_file
from pagefinder.errors import InputError

FILE = Path(__file__).parents[2] / "params.yaml"


def changed(path: str, value: object) -> dict:
    content = params_file.read(FILE)
    block = content
    *folders, last = path.split(".")
    for folder in folders:
        block = block[folder]
    block[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("sede", 1, ["sede is no param", "seed"]),
        ("mine.negatves", 2, ["mine.negatves is no param", "negatives"]),
        ("profiles.cpu.embedder.dim", [8], ["profiles.cpu.embedder.dim is no param", "dims"]),
        ("profiles.cpu.embedder.dims", [24, 48], ["embedder.dims is [24, 48]", "largest first"]),
        ("profiles.cpu.reranker.depths", [20, 10], ["depths is [20, 10]", "smallest first"]),
        ("profiles.cpu.reranker.compared_depth", 15, ["reranker.compared_depth is 15", "[10, 20]"]),
        ("profiles.cpu.compute.precision", "fp8", ["'fp8'", "'fp32'"]),
        ("profiles.cpu.embedder.batch", 0, ["batch is 0", "greater than or equal to 1"]),
        ("profile", "tpu", ["'tpu'", "cpu, text, gpu"]),
        ("compare", ["clip"], ["'clip'", "compare_models"]),
        (
            "queries.writer.url",
            "http://localhost:8000/v1/chat/completions",
            ["queries.writer.url is", "leave out /chat/completions"],
        ),
        ("queries.judge.url", "localhost:8000", ["queries.judge.url is 'localhost:8000'"]),
        ("queries.writer.filters", ["spelling"], ["queries.writer.filters.0 is 'spelling'"]),
        ("prepare.dev_share", "lots", ["prepare.dev_share is 'lots'"]),
        ("compare", [".."], ["compare.0 is '..'"]),
        (
            "profiles.cpu.data.source",
            "tiff",
            ["data.source is 'tiff'", "generated, hub, table, pdf"],
        ),
        ("profiles.cpu.compute.device", "mps", ["device is 'mps'", "'cuda' or 'auto'"]),
        ("profiles.cpu.compute.device", "cuda:1", ["is 'cuda:1'", "CUDA_VISIBLE_DEVICES"]),
    ],
)
def test_a_mistake_is_named_with_value_and_mend_on_one_line(path, value, said):
    with pytest.raises(InputError) as error:
        params_file.parse(changed(path, value))
    message = str(error.value)
    assert "\n" not in message
    for part in said:
        assert part in message


def test_a_missing_key_is_named():
    content = params_file.read(FILE)
    del content["loss"]["temperature"]
    with pytest.raises(InputError, match=r"loss.temperature is missing"):
        params_file.parse(content)


def test_numbers_as_dvc_writes_them(tmp_path):
    text = FILE.read_text().replace("learning_rate: 5.0e-4", "learning_rate: 3e-05")
    (tmp_path / "params.yaml").write_text(text)
    assert params_file.load(tmp_path / "params.yaml").embedder.learning_rate == 3e-05


def test_the_profile_decides():
    assert params_file.parse(changed("profile", "gpu")).base.model == "Qwen/Qwen3-VL-Embedding-2B"
    assert params_file.load(FILE).base.model == "nano/models/embedder"


def test_params_never_change():
    with pytest.raises(ValueError, match="frozen"):
        params_file.load(FILE).seed = 2


def test_no_file_and_no_yaml(tmp_path):
    with pytest.raises(InputError, match="is missing: run from the project's root"):
        params_file.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(InputError, match="is not YAML"):
        params_file.load(tmp_path / "params.yaml")


def test_a_dimension_larger_than_a_local_models_is_named_before_it_is_loaded(tmp_path):
    model = tmp_path / "nano/models/embedder"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"text_config": {"hidden_size": 64}}')
    (tmp_path / "params.yaml").write_text(FILE.read_text())
    with pytest.raises(InputError, match=r"asks for dimension 192, nano/models/embedder has 64"):
        params_file.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("profiles.cpu.base.model", "base"),
        ("profiles.cpu.reranker.model", "reranker"),
        ("mine.veto.model", "mine.veto"),
    ],
)
def test_a_local_model_that_no_stage_depends_on_is_named(tmp_path, path, section):
    def write(model, **others):
        content = changed(path, model) | others
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
        return params_file.load(tmp_path / "params.yaml")

    write("elsewhere/model")  # of the Hub, for all that is known here
    (tmp_path / "elsewhere/model").mkdir(parents=True)
    with pytest.raises(InputError, match=rf"{section}.model is 'elsewhere/model', .*nano/models"):
        write("elsewhere/model")
    assert write("elsewhere/model", checkpoints="elsewhere")
    assert write("elsewhere/model", checkpoints=str(tmp_path / "elsewhere"))


def test_a_local_model_to_compare_with_is_a_dependency_too(tmp_path):
    content = params_file.read(FILE) | {
        "compare": ["a"],
        "compare_models": {"a": {"model": "there"}},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match=r"compare_models.a.model is 'there'"):
        params_file.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("on_the_hub", [False, True])
def test_an_embedder_without_a_language_head_is_no_reranker_by_logits(
    tmp_path, monkeypatch, on_the_hub
):
    """Said by the first stage that can know it, and not after the embedder was trained."""
    model = tmp_path / "nano/models/embedder"
    model.mkdir(parents=True)
    config = model / "config.json"
    if on_the_hub:
        monkeypatch.setattr(
            "huggingface_hub.try_to_load_from_cache", lambda *_, revision: str(config)
        )
    content = changed("profiles.cpu.reranker.model", "models/embedder")
    if on_the_hub:
        content["profiles"]["cpu"]["base"] |= {"model": "some/embedder", "revision": "main"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    config.write_text('{"hidden_size": 192, "tie_word_embeddings": true}')
    (model / "processor_config.json").write_text("{}")
    params_file.load(tmp_path / "params.yaml")
    config.write_text('{"hidden_size": 192, "tie_word_embeddings": false}')
    with pytest.raises(InputError, match="has no language head .* set reranker.head to dense"):
        params_file.load(tmp_path / "params.yaml")
    content["profiles"]["cpu"]["reranker"]["head"] = "dense"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    params_file.load(tmp_path / "params.yaml")


def test_a_reranker_may_start_from_the_tuned_embedder(tmp_path):
    (tmp_path / "models/embedder").mkdir(parents=True)
    content = changed("profiles.cpu.reranker.model", "models/embedder")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    assert params_file.load(tmp_path / "params.yaml").reranker.model == "models/embedder"


def test_the_filters_are_those_that_params_yaml_names():
    """A default in the code would hide which ones apply."""
    content = params_file.read(FILE)
    del content["queries"]["writer"]["filters"]
    with pytest.raises(InputError, match=r"queries\.writer\.filters is missing"):
        params_file.parse(content)
