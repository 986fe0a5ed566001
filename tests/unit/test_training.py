"""How the trainers are set up, and which weights they keep."""

import logging
import signal

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers.base.evaluation import BaseEvaluator
from tiny import tiny_params, write_root
from transformers import TrainerCallback

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.params import Params
from pagefinder.runtime import processes
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.batches import embedder_rows, no_duplicates
from pagefinder.training.embedder import embedder_trainer
from pagefinder.training.losses import embedder_loss
from pagefinder.training.trainers import fit, set_up_parameters


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_root(tmp_path_factory.mktemp("root"))


def set_up(root, scratch, evaluator=None, **sections):
    """The embedder's trainer on the tiny corpus, without mined negatives."""
    settings: Params = tiny_params(**sections)
    device_settings = choose_device(settings.compute)
    model = open_embedder(settings.base, settings.pixels, device_settings, root)
    corpus = Corpus(root / "data/corpus")
    unmined = pd.DataFrame({"query_id": [], "page_id": []})
    rows = embedder_rows(corpus, unmined, settings.seed)
    run = TrainingRun(corpus, settings.compute, device_settings, 1, scratch)
    return embedder_trainer(model, rows, settings.embedder, settings.loss, run, evaluator)


def test_prompts_can_be_left_out_of_training(root, tmp_path):
    assert set_up(root, tmp_path).args.prompts == {
        "query": "Find the page for this question.",
        "image": "Represent this page.",
    }
    assert set_up(root, tmp_path, embedder={"prompts": False}).args.prompts is None


@pytest.mark.parametrize(
    ("evaluations", "scored", "resume_checkpoints", "written"),
    [(1, 6, 2, 3), (2, 3, 1, 6), (3, 2, 4, 2), (4, 2, 5, 2), (9, 1, 9, 1)],
)
def test_dev_and_checkpoints_have_intervals_of_their_own(
    root, tmp_path, evaluations, scored, resume_checkpoints, written
):
    knobs = {"evaluations": evaluations, "resume_checkpoints": resume_checkpoints}
    arguments = set_up(root, tmp_path, embedder=knobs).args
    assert arguments.max_steps == 6
    assert (arguments.eval_steps, arguments.save_steps) == (scored, written)


@pytest.mark.parametrize(
    ("batch", "steps", "dropped"), [(5, 4, True), (24, 1, True), (30, 1, False)]
)
def test_the_last_short_batch_of_an_epoch_is_no_step(root, tmp_path, batch, steps, dropped):
    arguments = set_up(root, tmp_path, embedder={"batch": batch}).args
    assert (arguments.max_steps, arguments.dataloader_drop_last) == (steps, dropped)


def test_processes_share_one_batch_and_learn_from_all_of_its_pages(root, tmp_path, monkeypatch):
    alone = set_up(root, tmp_path)
    assert not alone.args.accelerator_config.split_batches
    assert not alone.loss.loss.gather_across_devices
    monkeypatch.setattr(processes, "count", lambda: 2)
    trainer = set_up(root, tmp_path)
    assert trainer.args.accelerator_config.split_batches
    assert trainer.loss.loss.gather_across_devices
    for batch in (3, 26):  # odd; more than the 24 rows
        with pytest.raises(InputError, match=f"batch {batch} over 24 rows .* by 2 processes"):
            set_up(root, tmp_path, embedder={"batch": batch})


def test_the_probe_of_a_process_waits_for_no_other(root, monkeypatch):
    settings = tiny_params()
    model = open_embedder(settings.base, settings.pixels, choose_device(settings.compute), root)
    monkeypatch.setattr(processes, "count", lambda: 2)
    loss = embedder_loss(model, [192, 48], settings.loss, 2, gather=False)
    assert not loss.loss.gather_across_devices


def test_dropout_is_off(root, tmp_path):
    settings = tiny_params()
    model = open_embedder(settings.base, settings.pixels, choose_device(settings.compute), root)
    model.append(torch.nn.Dropout(0.3))
    set_up_parameters(model, settings.embedder, 1)
    assert model[-1].p == 0


def test_batches_keep_answers_apart(root, tmp_path):
    """What the sampler does with its corpus: tests/unit/test_examples.py."""
    sampler = set_up(root, tmp_path).args.batch_sampler
    assert sampler.func is no_duplicates
    assert sampler.args[0].folder == root / "data/corpus"


def test_adapters_start_at_random_by_the_seed_in_all_linear_layers(root):
    settings = tiny_params(embedder={"lora_rank": 2, "freeze": []})
    device_settings = choose_device(settings.compute)

    def weights(seed):
        model = open_embedder(settings.base, settings.pixels, device_settings, root)
        linear = sum(type(module) is torch.nn.Linear for module in model.modules())
        set_up_parameters(model, settings.embedder, seed)
        adapters = {name: p for name, p in model.named_parameters() if "lora_A" in name}
        assert len(adapters) == linear > 0
        return adapters

    one, same, other = (weights(seed) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_parts_train_at_their_own_rates(root, tmp_path):
    rates = {"visual": 2e-5, "visual.patch_embed": 1e-6}  # of two that match, the last counts
    trainer = set_up(root, tmp_path, embedder={"learning_rate": 1e-3, "learning_rates": rates})
    found = {}
    for group in trainer.create_optimizer().param_groups:
        for parameter in group["params"]:
            found[id(parameter)] = group["lr"]
    named = {name: found[id(p)] for name, p in trainer.model.named_parameters()}
    assert {name for name, rate in named.items() if rate == 1e-6} == {
        name for name in named if "visual.patch_embed" in name
    }
    assert set(named.values()) == {1e-3, 2e-5, 1e-6}
    assert all(rate == 1e-3 for name, rate in named.items() if "language_model" in name)


class Scripted(BaseEvaluator):
    """An evaluator that gives the scores it was told to."""

    def __init__(self, scores):
        super().__init__()
        self.primary_metric = "dev_cosine_ndcg@10"
        self.scores = iter(scores)

    def __call__(self, model, output_path=None, epoch=-1, steps=-1):
        return {self.primary_metric: next(self.scores)}


def loaded(trainer, folder):
    """Whether a trainer's model has the weights in a folder."""
    weights = trainer.model[0].model.state_dict()
    saved = load_file(folder / "model.safetensors")
    return all(torch.equal(saved[name], weights[name]) for name in saved)


def test_the_weights_with_the_best_dev_score_are_kept_without_a_checkpoint(root, tmp_path):
    knobs = {"evaluations": 3, "resume_checkpoints": 1}
    trainer = set_up(root, tmp_path, Scripted([0.1, 0.9, 0.2, 0.3]), embedder=knobs)
    fit(trainer)
    assert sorted(path.name for path in tmp_path.glob("*-*")) == ["best-2", "checkpoint-6"]
    assert loaded(trainer, tmp_path / "best-2")
    assert not loaded(trainer, tmp_path / "checkpoint-6")
    assert not list((tmp_path / "best-2").glob("optimizer*"))
    assert not list(tmp_path.rglob("README.md")), "a model card would show training pages"


def test_a_training_that_scores_worse_after_a_kill_keeps_what_was_the_best(root, tmp_path):
    """On a GPU steps do not repeat: the fourth was the best, but only before the kill."""

    class Kill(TrainerCallback):
        def on_step_begin(self, args, state, control, **keywords):
            if state.global_step == 4:
                raise ZeroDivisionError

    knobs = {"evaluations": 6, "resume_checkpoints": 2}
    killed = set_up(root, tmp_path, Scripted([0.1, 0.3, 0.5, 0.4, 0.9]), embedder=knobs)
    killed.add_callback(Kill())
    with pytest.raises(ZeroDivisionError):
        fit(killed)
    written = sorted(path.name for path in tmp_path.glob("*-*"))
    assert written == ["best-2", "best-4", "checkpoint-3"]
    resumed = set_up(root, tmp_path, Scripted([0.3, 0.2, 0.2]), embedder=knobs)
    fit(resumed)
    assert loaded(resumed, tmp_path / "best-2")


def test_a_training_that_makes_dev_worse_says_so(root, tmp_path, caplog):
    fit(set_up(root, tmp_path, Scripted([0.9, 0.2, 0.3])))
    assert "training made dev worse" in caplog.text


@pytest.fixture
def ctrl_c():
    """Ctrl-C as a terminal's foreground job gets it; a background job is started without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("presses", "done"), [(1, 2), (2, 1)])
def test_ctrl_c_ends_after_the_step_and_again_at_once(root, tmp_path, caplog, presses, done):
    class Impatient(TrainerCallback):
        def on_step_begin(self, args, state, control, **keywords):
            if state.global_step == 1:
                for _ in range(presses):
                    signal.raise_signal(signal.SIGINT)

    trainer = set_up(root, tmp_path, Scripted([0.1, 0.2, 0.3]))
    trainer.add_callback(Impatient())
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        fit(trainer)
    assert trainer.state.global_step == done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "saving after this step" in caplog.text
    assert (tmp_path / "checkpoint-2").exists() is (presses == 1)


def test_bfloat16_is_taken_where_the_processor_has_it_over_float32_weights(
    root, tmp_path, monkeypatch
):
    compute = tiny_params(compute={"precision": "auto"}).compute
    for has, dtype in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        device_settings = choose_device(compute)
        assert device_settings.autocast is dtype
        settings = tiny_params()
        model = open_embedder(settings.base, settings.pixels, device_settings, root)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert set_up(root, tmp_path, compute={"precision": "auto"}).args.bf16 is has
