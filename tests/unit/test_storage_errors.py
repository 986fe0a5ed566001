"""Object storage that cannot be used is told in a line, and is no damage of an index."""

import socket

import pyarrow as pa
import pytest

from pagefinder.errors import InputError
from pagefinder.indexing import store

PLACE = "s3://bucket/index"
NO_BUCKET = (
    'Generic { store: "S3", source: RetryError(RetryErrorImpl { inner: Status { status: 404, body: '
    'Some("<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message>'
)


@pytest.fixture
def endpoint(monkeypatch):
    """Of a server that nobody started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for name, value in (
            ("ACCESS_KEY_ID", "a"),
            ("SECRET_ACCESS_KEY", "b"),
            ("DEFAULT_REGION", "us-east-1"),
            ("ENDPOINT_URL", address),
        ):
            monkeypatch.setenv(f"AWS_{name}", value)
        yield address


def test_an_endpoint_of_http_has_to_be_allowed(endpoint, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
    assert error(PLACE).endswith("set AWS_ALLOW_HTTP=true: mend that, then run again")


def test_a_server_that_is_not_there(endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    expected = f"the index {PLACE} cannot be read or written now: Connection refused: mend that, "
    assert error(PLACE) == expected + "then run again"


def test_an_address_of_no_storage():
    assert "No object store provider found for scheme: 'nosuch': mend" in error("nosuch://x/y")


def error(place: str) -> str:
    """The line, which proposes no --rebuild: that would throw a whole index away."""
    with pytest.raises(InputError) as caught:
        store.open_table(place)
    assert not isinstance(caught.value, store.DamagedError)
    return str(caught.value)


def test_what_a_server_refuses_is_told_in_its_words():
    with pytest.raises(InputError, match="now: NoSuchBucket: The specified bucket does not exist:"):
        with store.damage(PLACE):
            raise ValueError(NO_BUCKET)


def test_a_file_that_is_missing_in_the_storage_is_damage():
    with pytest.raises(store.DamagedError):
        with store.damage(PLACE):
            raise RuntimeError("LanceError(IO): Generic N/A error: Not found: index/pages.lance/a")


def test_words_in_the_path_of_a_disk_are_no_refusal(tmp_path):
    place = tmp_path / "credentials/index"
    table = store.create_table(str(place), pa.schema([("path", pa.string())]))
    table.add(pa.table({"path": ["a.pdf"]}))
    for file in place.rglob("data/*.lance"):
        file.unlink()
    opened = store.open_table(str(place))
    with pytest.raises(store.DamagedError, match="is damaged: .*Not found"):
        with store.damage(str(place)):
            opened.to_arrow()
