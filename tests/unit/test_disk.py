"""What a run needs of the disk, and how a stage that will not fit says so before it begins."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from safetensors.torch import load_file, save_file
from tiny import tiny_params, write_root

import stages
from pagefinder.errors import InputError
from pagefinder.runtime import disk
from pagefinder.runtime.disk import Amounts, Need, Weights
from tools import room

ROOT = Path(__file__).parents[2]
AMOUNTS = Amounts(source_bytes=900, corpus_bytes=500, texts_and_pages=70, eval_queries=10)


def test_a_run_needs_its_outputs_and_the_checkpoints_of_its_trainings():
    models = {"base": Weights(4_000, 2_000, 1_000), "reranker": Weights(6_000, 3_000, 3_000)}
    needs = disk.needs(tiny_params(), AMOUNTS, models)
    vectors = 70 * 192 * 4
    assert needs["download"] == Need({"data/source": 900})
    assert needs["prepare"] == Need({"data/corpus": 500}, {"prepared pages": 500})
    assert needs["encode_tuned"] == Need({"data/embeddings/tuned": vectors}, {"chunks": vectors})
    # A checkpoint holds 2,000 weights and two moments of 1,000 in float32; three are there at most,
    # and two beside the output. Best weights lie there twice.
    embedder = needs["train_embedder"]
    kept = 3 * 16_000 + 2 * 8_000
    assert embedder == Need({"models/embedder": 8_000}, {"checkpoints": kept - 8_000})
    assert embedder.peak(copied=True) == kept
    assert needs["train_reranker"].outputs == {"models/reranker": 12_000}
    assert needs["export"] == Need({"models/release": 20_000})
    assert needs["export"].peak(copied=True) == 40_000
    assert needs["export"].peak(copied=False) == 20_000
    assert not {"train_embedder", "train_reranker", "export"} & set(
        disk.needs(tiny_params(), AMOUNTS, {})
    )


def test_a_release_in_bfloat16_takes_half_the_bytes_once_its_copies_are_rounded():
    model = Weights(4_000, 2_000, 2_000)
    params = tiny_params(release={"dtype": "bfloat16"})
    need = disk.needs(params, AMOUNTS, {"base": model, "reranker": model})["export"]
    assert need == Need({"models/release": 8_000}, {"float32 copies": 8_000})
    assert need.peak(copied=True) == 16_000
    # Without a reranker the embedder alone is released.
    assert disk.needs(params, AMOUNTS, {"base": model})["export"].outputs == {
        "models/release": 4_000
    }


def test_adapters_make_small_checkpoints():
    knobs = tiny_params(embedder={"lora_rank": 4})
    needs = disk.needs(knobs, AMOUNTS, {"base": Weights(4_000, 2_000, 100)})
    assert needs["train_embedder"] == Need({"models/embedder": 8_000}, {"checkpoints": 0})


def test_without_epochs_there_are_no_checkpoints():
    knobs = tiny_params(embedder={"epochs": 0})
    needs = disk.needs(knobs, AMOUNTS, {"base": Weights(4_000, 2_000, 2_000)})
    assert needs["train_embedder"] == Need({"models/embedder": 8_000})


def test_the_whole_run_is_the_highest_of_its_stages_on_top_of_what_earlier_ones_left():
    needs = {"one": Need({"a": 10}), "two": Need({"b": 5}, {"checkpoints": 90}), "three": Need()}
    assert disk.together(needs, copied=False) == 10 + 95
    assert disk.together(needs, copied=True) == 20 + 95
    assert disk.together({"one": Need({"a": 10})}, copied=True) == 20


def test_weights_are_counted_from_the_headers_of_the_files(tmp_path):
    write_root(tmp_path)
    folder = tmp_path / "models/vlm"
    tensors = load_file(folder / "model.safetensors")
    count = sum(tensor.numel() for tensor in tensors.values())
    vision = sum(tensor.numel() for name, tensor in tensors.items() if "visual" in name)
    knobs = tiny_params(embedder={"freeze": ["visual"]}).embedder
    whole = disk.folder_bytes([folder])
    assert whole > 2 * count
    assert disk.model_weights(folder, knobs) == (whole, count, count - vision)
    save_file({"linear": torch.zeros(3, 5), "bias": torch.zeros(3)}, tmp_path / "a.safetensors")
    adapters = tiny_params(embedder={"freeze": [], "lora_rank": 2}).embedder
    assert disk.model_weights(tmp_path / "data", adapters) is None
    (tmp_path / "small").mkdir()
    shutil.move(tmp_path / "a.safetensors", tmp_path / "small")
    assert disk.model_weights(tmp_path / "small", adapters)[1:] == (18, 2 * (3 + 5))


def free(monkeypatch, size):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size))


def run_stage(root, stage):
    """Whether the work of a stage began."""
    began = []
    stages.run(lambda params, root: began.append(root), root, stage=stage)
    return bool(began)


@pytest.mark.parametrize("stage", ["train_embedder", "train_reranker", "export"])
def test_a_stage_that_will_not_fit_says_so_before_it_begins(tmp_path, monkeypatch, caplog, stage):
    root = write_root(tmp_path)
    params = tiny_params()
    need = disk.needs(params, disk.amounts_of(params, root), disk.models_of(params, root))[stage]
    peak = need.peak(copied=False)
    assert peak > 10**7
    free(monkeypatch, peak)
    assert run_stage(root, stage)
    free(monkeypatch, peak - 1)
    with pytest.raises(SystemExit):
        run_stage(root, stage)
    said = caplog.messages[-1]
    assert f"{stage} needs about {disk.in_words(peak)} of disk (" in said
    assert f"but {disk.in_words(peak - 1)} are free in {root}: make room" in said
    # Checkpoints of an interrupted run are there already.
    (root / ".work" / f"{stage}-0").mkdir()
    (root / ".work" / f"{stage}-0/checkpoint").write_bytes(b"x")
    assert run_stage(root, stage)


def test_prepare_is_measured_by_the_pages_of_its_source(tmp_path, monkeypatch, caplog):
    root = write_root(tmp_path)
    shutil.rmtree(root / "data/corpus")
    (root / "data/source").mkdir()
    (root / "data/source/provenance.json").write_text('{"counts": {"pages": 1000}}')
    free(monkeypatch, 10**6)
    with pytest.raises(SystemExit):
        run_stage(root, "prepare")
    page = 96 * 64 * disk.PNG_BYTES_PER_PIXEL
    assert f"prepare needs about {disk.in_words(2000 * page)} of disk" in caplog.messages[-1]


def test_batches_that_do_not_fit_into_shared_memory_are_named_first(tmp_path, monkeypatch, caplog):
    shared = tmp_path / "shm"
    shared.mkdir()
    monkeypatch.setattr(disk, "SHARED_MEMORY", shared)
    root = write_root(tmp_path / "root", compute={"workers": 3})
    # Two batches for each of three processes, of four rows of a page and a negative, of 96 x 64
    # pixels in three colours, float32 and twice.
    needed = 3 * 2 * 4 * 2 * 96 * 64 * 3 * 4 * 2
    usage = {shared: needed, root: 10**12}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=usage[path]))
    disk.check("train_embedder", tiny_params(compute={"workers": 3}), root, copied=False)
    usage[shared] -= 1
    with pytest.raises(InputError, match=r"compute.workers is 3.*lower compute.workers, or"):
        disk.check("train_embedder", tiny_params(compute={"workers": 3}), root, copied=False)
    disk.check("train_embedder", tiny_params(), root, copied=False)
    disk.check("encode_base", tiny_params(compute={"workers": 3}), root, copied=False)


def test_what_reads_no_images_needs_no_shared_memory_for_them():
    params = tiny_params(base={"page_content": "text"}, compute={"workers": 8})
    assert disk.shared_memory("train_embedder", params, 10**6) == 0
    assert disk.shared_memory("train_reranker", params, 10**6) > 0


@pytest.mark.parametrize(
    ("config", "copies"),
    [
        ("", True),
        ("[cache]\n    type = copy\n", True),
        ('[cache]\n    type = "hardlink,symlink"\n', False),
        ("[cache]\n    type = symlink\n", False),
        ("[cache]\n    dir = /dev/shm\n", not Path("/dev/shm").is_dir()),
    ],
)
def test_dvc_s_cache_takes_as_much_again_unless_it_links_or_lies_elsewhere(
    tmp_path, monkeypatch, config, copies
):
    monkeypatch.setattr(stages, "_shares_blocks", lambda folder: False)
    assert not stages.dvc_copies(tmp_path), "without DVC nothing is cached"
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    autostage = true\n")
    (tmp_path / ".dvc/config.local").write_text(config)
    assert stages.dvc_copies(tmp_path) is copies
    monkeypatch.setattr(stages, "_shares_blocks", lambda folder: True)
    assert stages.dvc_copies(tmp_path) is (copies and "copy" in config)


def test_the_run_is_refused_before_it_begins(tmp_path, monkeypatch, caplog):
    root = write_root(tmp_path)
    params = tiny_params()
    lock = {
        "params": {"params.yaml": {"profile": "cpu"}},
        "outs": [{"path": "data/x", "size": 10**9}],
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": {"one": lock}}))
    assert room.recorded_sizes("cpu", root) == {"data/x": 10**9}
    assert room.recorded_sizes("gpu", root) == {}
    free(monkeypatch, 10**9)
    with pytest.raises(InputError, match=r"the run may need 1\.\d GB, but 1\.0 GB are free"):
        room.check(params, root)
    (root / "data/x").touch()
    room.check(params, root)
    monkeypatch.setattr(room.os, "access", lambda path, mode: path.name != "corpus")
    with pytest.raises(InputError, match="data/corpus cannot be replaced"):
        room.check(params, root)


def test_the_plan_says_what_a_run_takes(tmp_path):
    (tmp_path / ".dvc").mkdir()
    needs = {"one": Need({"a": 3 * 10**9}), "two": Need({"b": 10**6}, {"checkpoints": 9 * 10**9})}
    lines = list(room.lines(needs, {"base": Weights(4 * 10**9, 1, 1)}, tmp_path))
    assert lines[:3] == [
        "a 3.0 GB",
        "b 1.0 MB",
        "meanwhile, checkpoints of two: 9.0 GB",
    ]
    assert lines[3] == "DVC's cache of these outputs 3.0 GB"
    assert "needs 15.0 GB at its peak and leaves 6.0 GB" in lines[4]
    assert "models it starts from take 4.0 GB elsewhere" in lines[4]


def make_repro(folder: Path, fails: str, *variables: str) -> tuple[int, list[str], str]:
    """Exit code of `make repro`, the commands it ran and its output, where one of them fails."""
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("python", "dvc"):
        (programs / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >> ran\ncase "{name} $*" in "{fails}") exit 1;; esac\n'
        )
        (programs / name).chmod(0o755)
    (folder / ".venv/ready").touch()
    command = ["make", "-f", str(ROOT / "Makefile"), "-o", ".venv/ready", "-o", ".venv/text"]
    command += ["repro", *variables]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, (folder / "ran").read_text().splitlines(), done.stdout


def test_make_looks_at_the_disk_first_and_at_dvc_s_cache_last(tmp_path):
    first = ["python -m tools.check_input", "python -m tools.room"]
    steps = [*first, "dvc repro", "dvc status -q", "python -m tools.summary"]
    assert make_repro(tmp_path / "well", "-")[:2] == (0, steps)
    code, ran, _ = make_repro(tmp_path / "full", "python -m tools.room")
    assert code and ran == steps[:2]
    code, ran, said = make_repro(tmp_path / "cache", "dvc status -q")
    assert code and ran == steps[:4]
    assert "make room on the disk of `dvc cache dir`, then run `dvc commit`" in said


def test_make_hands_on_the_folder_whatever_its_name_and_the_text_profile(tmp_path):
    name = "Ann's manuals, all=yes"
    (tmp_path / name).mkdir()
    code, ran, _ = make_repro(tmp_path / "clone", "-", f"INPUT={tmp_path / name}")
    assert code == 0
    assert ran[1] == "python -m tools.room text"
    override = ran[2].removeprefix("dvc exp run -S profile=text -S ")
    parsed = OverridesParser.create().parse_override(override)
    assert (parsed.key_or_group, parsed.value()) == ("input", str(tmp_path / name))


def test_room_counts_what_the_run_s_profile_needs(tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(room, "check", lambda params, root: checked.append(params.profile))
    monkeypatch.setattr(room.params_file, "local_folder", lambda *_: None)
    room.main(ROOT)
    room.main(ROOT, "text")
    assert checked == ["cpu", "text"]
