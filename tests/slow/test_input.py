"""Files of one's own as the input of the pipeline: what DVC reruns, and what many pages cost."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml
from sources import CONTENT, ROOT, with_params, write_pdf

from pagefinder.data.corpus import Corpus
from pagefinder.layout import CORPUS
from stages import download, prepare

pytestmark = pytest.mark.slow


def dvc(root, *command):
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *command],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def pumps(path, topic):
    body = ["Water runs downhill and nobody has to push it along at all."] * 4
    write_pdf(path, [[(topic, 18), *body, topic]], [(0, topic, 0)], path.stem)


def test_a_changed_added_or_removed_pdf_reruns_download(tmp_path):
    for name in ("pagefinder", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    content = {**CONTENT, "profile": "cpu", "input": "raw"}
    content["profiles"]["cpu"]["data"]["source"] = "pdf"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {
        "download": stages["download"] | {"cmd": f"{sys.executable} -m stages.download"}
    }}))  # fmt: skip
    deep = tmp_path / "raw" / "deep"
    deep.mkdir(parents=True)
    pumps(deep / "a.pdf", "Sealing the pump shaft")
    dvc(tmp_path, "init", "--no-scm", "-q")

    def reran():
        return "Running stage 'download'" in dvc(tmp_path, "repro")

    assert reran()
    assert not reran()
    pumps(deep / "a.pdf", "Grease for old bearings")
    assert reran(), "changed"
    pumps(deep / "b.pdf", "Colour of the handle")
    assert reran(), "added"
    (deep / "a.pdf").unlink()
    assert reran(), "removed"
    assert not reran()


def test_a_file_of_2000_pages_is_rendered(tmp_path):
    location = tmp_path / "raw"
    location.mkdir()
    for topic in ("Sealing the pump shaft", "Grease for old bearings", "Colour of the handle"):
        pumps(location / f"{topic}.pdf", topic)
    pages = [[f"Leaf number {n}"] for n in range(2000)]
    write_pdf(location / "long.pdf", pages, [], "Long")
    params = with_params("pdf", input="raw")
    download.main(params, tmp_path)
    prepare.main(params, tmp_path)
    corpus = Corpus(tmp_path / CORPUS)
    assert (corpus.pages["document_id"] == "long.pdf").sum() == 2000


def test_many_pages_after_real_kills():
    command = [sys.executable, "-m", "benchmarks.prepare_scale", "--pages", "3000", "--kill"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peaks = [int(peak) for peak in re.findall(r"peak (\d+) MiB", done.stdout)]
    assert len(peaks) == 2
    assert max(peaks) < 2048
