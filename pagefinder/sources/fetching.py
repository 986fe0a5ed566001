"""Fetch a file from a URL that stands in a user's data: bounded in time, size and addresses."""

import http.client
import ipaddress
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, cast

SECONDS = 60  # of a whole fetch, redirects included


class FetchError(Exception):
    """A URL that gives no file; the text says why."""


class ForbiddenError(FetchError):
    """A URL that may not be fetched; the text says why."""


def fetch(url: str, limit: int, private_allowed: bool) -> bytes:
    """What the URL sends, at most `limit` bytes and one more.

    The proxies of the environment are used.

    Args:
        url: An http or https URL; redirects to others of these are followed.
        limit: Bytes.
        private_allowed: Whether the server may stand in a private network or be this machine.

    Raises:
        ForbiddenError: the URL, or a redirect, leads to an address that is not public.
        FetchError: the server gives no whole answer within SECONDS.
    """
    connections = _Connections(private_allowed)
    opener = urllib.request.OpenerDirector()
    for handler in (
        connections,
        _Redirects(),
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(url, timeout=SECONDS) as response:
            data: bytes = response.read(limit + 1)
            if len(data) <= limit and response.length:
                raise FetchError(f"{response.length} bytes are missing at its end")
    # ValueError: of a URL that cannot be written as ASCII, say.
    except (OSError, ValueError, http.client.HTTPException, FetchError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        if isinstance(error, FetchError) and not connections.expired:
            raise
        text = f"no whole answer in {SECONDS} seconds" if connections.expired else str(error)
        raise FetchError(" ".join(text.split())[:200] or type(error).__name__) from error
    finally:
        connections.close()
    if connections.expired:  # an answer without a length just ends when its socket is shut
        raise FetchError(f"no whole answer in {SECONDS} seconds")
    return data


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects without reading what is sent along with them, which may have no end."""

    def redirect_request(self, request: Any, answer: Any, *args: Any) -> Any:  # noqa: ANN401
        answer.close()
        return super().redirect_request(request, answer, *args)


class _Connections(urllib.request.AbstractHTTPHandler):
    """Opens connections to allowed addresses and ends them all when SECONDS have passed.

    A timeout of the socket would not do: it starts again with every byte.
    """

    def __init__(self, private_allowed: bool) -> None:
        super().__init__()
        self._private_allowed = private_allowed
        self._sockets: list[socket.socket] = []
        self._end = time.monotonic() + SECONDS
        self.expired = False
        self._timer = threading.Timer(SECONDS, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        self._timer.cancel()
        self._timer.join()
        for duplicate in self._sockets:
            duplicate.close()

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(http.client.HTTPConnection, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(http.client.HTTPSConnection, request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def _open(
        self, kind: type[http.client.HTTPConnection], request: urllib.request.Request
    ) -> http.client.HTTPResponse:
        """Send the request over a connection that `_connect` makes, which refuses addresses.

        http.client offers no other place to choose a socket than `_create_connection`. Its timeout
        and source address are not used: `_connect` has a deadline of its own.
        """
        # A request of https by a proxy has only a tunnel's host.
        proxied = request.has_proxy() or bool(getattr(request, "_tunnel_host", None))
        if proxied:
            self._check_behind_proxy(request.full_url)

        def connection(*args: Any, **keywords: Any) -> http.client.HTTPConnection:  # noqa: ANN401
            opened: Any = kind(*args, **keywords)
            opened._create_connection = lambda address, *_: self._connect(
                address[0], address[1], proxied
            )
            return cast(http.client.HTTPConnection, opened)

        return self.do_open(connection, request)

    def _check_behind_proxy(self, url: str) -> None:
        """Check the address of a host that the proxy asks; names that only it knows pass."""
        host = urllib.parse.urlsplit(url).hostname or ""
        try:
            addresses = _addresses(host, None)
        except OSError:
            return
        self._check(host, addresses)

    def _connect(self, host: str, port: int, proxy: bool) -> socket.socket:
        """A connection to an address that was checked, so that no second look-up changes it."""
        addresses = _addresses(host, port)
        if not proxy:  # the environment names the proxy, not the data
            self._check(host, addresses)
        failure: OSError = ConnectionError(f"{host!r} has no address")
        for address in addresses:
            try:
                left = max(self._end - time.monotonic(), 0.01)
                connection = socket.create_connection((address, port), timeout=left)
            except OSError as error:
                failure = error
                continue
            # TLS takes the socket over: a duplicate still shuts both.
            self._sockets.append(connection.dup())
            if self.expired:
                self._expire()
            return connection
        raise failure

    def _check(self, host: str, addresses: list[str]) -> None:
        """Raise ForbiddenError if an address of a host is not public and must be."""
        for address in addresses:
            if not self._private_allowed and not _is_public(address):
                raise ForbiddenError(
                    f"{host!r} is at {address}, which is no public address, and"
                    " allow_private_urls is false"
                )

    def _expire(self) -> None:
        self.expired = True
        for duplicate in self._sockets:
            try:
                duplicate.shutdown(socket.SHUT_RDWR)
            except OSError:  # the server has closed it
                continue


def _addresses(host: str, port: int | None) -> list[str]:
    """The IP addresses of a host, in the order in which to try them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _is_public(address: str) -> bool:
    """Whether an IP address is reached through the internet: not private, loopback, link-local."""
    ip = ipaddress.ip_address(address)
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped or ip
    return ip.is_global and not ip.is_multicast
