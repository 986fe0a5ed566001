"""URLs in a user's data: what a server may do to a download, and which addresses are refused."""

import contextlib
import itertools
import json
import socket
import threading

import pytest
from sources import page, with_params

from pagefinder.sources import fetching, images, storing, table, writing
from pagefinder.sources.images import Access, BadCellError

OPEN = Access(urls=True, private_urls=True)
OK = b"HTTP/1.1 200 OK\r\n"


@contextlib.contextmanager
def server(answers):
    """A server on a free port; `answers` holds path -> the pieces that it sends, bytes each."""

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            path = connection.recv(65536).split(b" ")[1].decode("latin-1")
            requests.append(path)
            for piece in answers[path](base) if callable(answers[path]) else answers[path]:
                connection.sendall(piece)
                if path == "/slow":
                    stopped.wait(0.05)

    def accept():
        while True:
            connection, _ = listening.accept()
            if stopped.is_set():
                return connection.close()
            threads.append(threading.Thread(target=answer, args=(connection,)))
            threads[-1].start()

    requests, threads, stopped = [], [], threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield base, requests
        finally:
            stopped.set()
            socket.create_connection(listening.getsockname()).close()
            for thread in threads:
                thread.join()


def whole(data):
    return [OK, b"Content-Length: %d\r\n\r\n" % len(data), data]


def redirect(to):
    return [b"HTTP/1.1 302 Found\r\nLocation: " + to.encode() + b"\r\n\r\n"]


ANSWERS = {
    "/page": whole(page(1)),
    "/status": [b"nonsense\r\n\r\n"],
    "/header": [OK, b"X: " + b"a" * 70_000],
    "/headers": [OK, b"X: a\r\n" * 200, b"\r\n"],
    "/chunks": [OK, b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello"],
    "/short": [OK, b"Content-Length: 1000\r\n\r\nhello"],
    "/nothing": [],
    "/gone": [b"HTTP/1.1 404 Not Found\r\n\r\n"],
    "/loop": lambda base: redirect(f"{base}/loop"),
    "/file": redirect("file:///etc/hostname"),
    "/ftp": redirect("ftp://127.0.0.1/x"),
}


def problems(urls, root, **settings):
    """Problem, or None, of the page at each URL, as `download` stores it."""
    rows = [{"query": f"q {n}", "image": url} for n, url in enumerate(urls)]
    (root / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    params = with_params("table", {"allow_urls": True, **settings}, input=".")
    writing.write(table.open_source(params, root), root / "source")
    pages = [row for batch in storing.batches(root / "source") for row in batch.to_pylist()]
    return [row["problem"] for row in pages]


def test_a_bad_answer_costs_its_own_row_alone(tmp_path):
    with server(ANSWERS) as (base, _):
        bad = [f"{base}{path}" for path in ANSWERS if path != "/page"]
        bad += [f"{base}/a b", f"{base}/\0", f"{base}/ü", "http://", "http://[", "http://a:b/"]
        bad += [f"http://{'x' * 70}.org/", "http://\udcff/"]
        found = problems([*bad, f"{base}/page"], tmp_path, allow_private_urls=True)
    assert found[-1] is None
    assert len(found) == len(bad) + 1
    assert [problem.split(":")[0] for problem in found[:-1]] == ["URL failed"] * len(bad)


def test_a_server_that_never_ends_is_left_at_the_deadline(monkeypatch):
    monkeypatch.setattr(fetching, "SECONDS", 0.3)
    beginning = [OK, b"Content-Length: 400\r\n\r\n"]
    for pieces in (
        itertools.chain(beginning, itertools.repeat(b"x", 400)),
        itertools.chain([OK, b"\r\n"], itertools.repeat(b"x", 400)),
        itertools.chain([OK], itertools.repeat(b"X: a\r\n", 90), [b"\r\n"]),
    ):
        with server({"/slow": pieces}) as (base, _):
            with pytest.raises(BadCellError, match=r"URL failed: .*no whole answer in 0.3 seconds"):
                images.read(f"{base}/slow", OPEN)
            assert next(pieces, None), "the server was waited for"


def test_addresses_that_are_not_public_are_refused(tmp_path, monkeypatch):
    with server(ANSWERS) as (base, requests):
        found = problems([f"{base}/page", base.replace("127.0.0.1", "localhost")], tmp_path)
        assert all(problem.startswith("URL not allowed") for problem in found)
        assert "allow_private_urls is false" in found[0]
        assert not requests
    for address in (
        "127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.9", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "::1", "::", "fe80::1%1", "fc00::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "ff02::1",
    ):  # fmt: skip
        assert not fetching._is_public(address), address
    for address in ("93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"):
        assert fetching._is_public(address), address


def test_redirects_to_addresses_that_are_not_public_are_refused(monkeypatch):
    """The first server counts as public here."""
    monkeypatch.setattr(fetching, "_is_public", lambda address: address == "127.0.0.1")
    places = {
        "/metadata": "http://169.254.169.254/latest/meta-data/",
        "/neighbour": "http://127.0.0.2:1/",
        "/name": "http://[::1]:1/",
    }
    answers = {path: redirect(to) for path, to in places.items()}
    with server({**answers, "/fine": lambda base: redirect(f"{base}/page"), **ANSWERS}) as (
        base,
        _,
    ):
        assert images.read(f"{base}/fine", Access(urls=True)) == page(1)
        for path in places:
            with pytest.raises(BadCellError, match=r"^URL not allowed: .* is no public address"):
                images.read(f"{base}{path}", Access(urls=True))


def test_the_environments_proxy_is_used_and_asked_for_public_addresses_alone(monkeypatch):
    with server({"http://nowhere.invalid/page": whole(page(1))}) as (base, requests):
        monkeypatch.setenv("http_proxy", base)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert images.read("http://nowhere.invalid/page", Access(urls=True)) == page(1)
        with pytest.raises(BadCellError, match="is no public address"):
            images.read("http://169.254.169.254/", Access(urls=True))
        assert requests == ["http://nowhere.invalid/page"]


def test_a_page_of_more_than_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    with server({"/big": whole(b"x" * 2000)}) as (base, _):
        with pytest.raises(BadCellError, match="file too large"):
            images.read(f"{base}/big", OPEN)
