"""Files and indexes in a bucket: both engines, updates, errors.

The address of a server that speaks S3 is in S3_SERVER, with s3fs beside this project's packages.
moto serves, too, but in an environment of its own: its antlr4 is not the one that DVC needs.
"""

import json
import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from PIL import Image
from sources import write_pdf
from test_ray import MODELS, run

from pagefinder.indexing import store

pytest.importorskip("ray")
pytest.importorskip("lance")
pytest.importorskip("s3fs")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("S3_SERVER" not in os.environ, reason="S3_SERVER names no server"),
]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A folder with pages that `s3://pagefinder/scans` has as well."""
    root = tmp_path_factory.mktemp("s3")
    (root / "pages/more").mkdir(parents=True)
    for number in range(2):
        texts = [[f"report {number}", f"page {page}"] for page in range(20)]
        write_pdf(root / f"pages/report {number}.pdf", texts)
    Image.new("RGB", (320, 200), "teal").save(root / "pages/more/ä #%1.png")
    (root / "pages/broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    settings = {
        "ACCESS_KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID", "a"),
        "SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", "b"),
        "DEFAULT_REGION": "us-east-1",
        "ENDPOINT_URL": os.environ["S3_SERVER"],
        "ALLOW_HTTP": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(f"AWS_{name}", value)
        system = fsspec.filesystem("s3", skip_instance_cache=True)
        if system.exists("pagefinder"):  # of an earlier run
            system.rm("pagefinder", recursive=True)
        system.mkdir("pagefinder")
        for path in (root / "pages").rglob("*.*"):
            system.put_file(str(path), f"pagefinder/scans/{path.relative_to(root / 'pages')}")
        yield root


def index(root: Path, folder: str, place: str, *options: str, status: int = 0, **more: str) -> str:
    """Index by the command; what it printed."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    command = ["-m", "pagefinder.index", folder, "--models", MODELS, "--no-ocr", "--index", place]
    done = run(root, *command, *options, **(variables | more))
    assert done.returncode == status, done.stdout
    return done.stdout


def content(place: str) -> pa.Table:
    """The rows of an index, sorted, without the times of the files."""
    rows = store.open_table(place).to_arrow().drop_columns("modified")
    return rows.sort_by([("path", "ascending"), ("row", "ascending")]).combine_chunks()


def test_a_bucket_is_indexed_into_a_bucket_as_a_folder_is_into_a_folder(bucket):
    index(bucket, "pages", "folder")
    expected = content(str(bucket / "folder"))
    index(bucket, "pages", "s3://pagefinder/local")
    assert content("s3://pagefinder/local").equals(expected, check_metadata=True)
    said = index(bucket, "s3://pagefinder/scans", "s3://pagefinder/ray", "--engine", "ray")
    assert "broken.pdf, page 1 is passed over: unreadable PDF" in said
    assert "credentials" not in said  # what the packages of the storage log
    assert content("s3://pagefinder/ray").equals(expected, check_metadata=True)
    # Objects come, change and go.
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    system.rm("pagefinder/scans/report 0.pdf")
    write_pdf(bucket / "pages/new.pdf", [["a new page"]])
    system.put_file(str(bucket / "pages/new.pdf"), "pagefinder/scans/new.pdf")
    said = index(bucket, "s3://pagefinder/scans", "s3://pagefinder/ray", "--engine", "ray")
    assert "1 files new, 0 changed, 0 moved or copied, 1 removed, 3 unchanged; 1 pages" in said
    paths = set(content("s3://pagefinder/ray")["path"].to_pylist())
    assert paths == {"broken.pdf", "more/ä #%1.png", "new.pdf", "report 1.pdf"}


def test_what_a_bucket_refuses_is_one_line_and_throws_nothing_away(bucket):
    def error(folder: str, place: str, *options: str, **more: str) -> str:
        said = index(bucket, folder, place, *options, status=1, **more)
        assert "Traceback" not in said
        assert "--rebuild" not in said
        return said

    assert "NoSuchBucket: " in error("pages", "s3://no-such-bucket/index")
    assert "set AWS_ALLOW_HTTP=true" in error(
        "pages", "s3://pagefinder/local", AWS_ALLOW_HTTP="false"
    )
    assert "holds no image and no PDF" in error(
        "s3://pagefinder/nothing", "s3://pagefinder/other", "--engine", "ray"
    )


def test_a_manifest_names_the_fragments_in_a_bucket(bucket):
    place = "s3://pagefinder/local"
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    for options in ([], ["--check"]):
        done = run(bucket, "-m", "tools.manifest", place, "index.json", *options, **variables)
        assert done.returncode == 0, done.stdout
    manifest = json.loads((bucket / "index.json").read_text())
    assert manifest["rows"] == store.open_table(place).count_rows()
