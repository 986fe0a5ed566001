"""The Ray cluster of `--engine ray`: reached, asked what it has; its failures told in a line."""

import contextlib
import importlib.util
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pagefinder.errors import InputError

SECONDS = 10.0  # for a machine to accept a connection
MISMATCH = "Version mismatch: "  # how Ray begins what it says of other versions
TOKEN = "set RAY_AUTH_MODE=token, and copy ~/.ray/auth_token of the machine where it started"


@dataclass(frozen=True)
class Resources:
    """What the machines of a cluster have, all together: `nodes` machines with cores."""

    gpus: int
    cores: int
    nodes: int


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Use the Ray cluster at an address within the block; None: one on this machine.

    Raises:
        InputError: the extra `ray` is not installed, there is no such cluster, or what its tasks
            did in the block failed for want of a file, a package, memory or a machine.
    """
    for name in ("ray", "lance"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"--engine ray needs {name}: pip install 'pagefinder[ray]'")
    if address:
        _check_reachable(address)
    # On few cores Ray would end a process that idles for a second, and start it again for the next.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
    # Ray tells of every actor that its arguments are in the object store, where this process keeps
    # them. What fails reaches it as an exception.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray.data

    _start(address)
    for name in ("ray.data", "ray.data._internal.progress"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    except ray.exceptions.RayError as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise InputError(f"on the cluster: {reason}") from error
    finally:
        ray.shutdown()


def resources() -> Resources:
    """What the cluster at hand has."""
    import ray

    total = ray.cluster_resources()
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    return Resources(int(total.get("GPU", 0)), int(total.get("CPU", 1)), max(len(nodes), 1))


def _start(address: str | None) -> None:
    """Connect this process to a cluster, or start one."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    here = {} if address else {"include_dashboard": False}
    try:
        ray.init(address or "local", logging_level=logging.ERROR, log_to_driver=False, **here)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        words = " ".join(str(error).split())
        if MISMATCH in words:
            raise InputError(
                f"the cluster at --address {address!r} has another Ray or Python than this "
                f"machine: install the same on both. {words.partition(MISMATCH)[2]:.300}"
            ) from error
        if any(isinstance(one, ray.exceptions.AuthenticationError) for one in _chain(error)):
            raise InputError(
                f"the cluster at --address {address!r} asks for its token: {TOKEN}"
            ) from error
        if address is None:
            raise InputError(f"Ray does not start on this machine: {words:.300}") from error
        # What listens there may be a cluster that refuses this machine: Ray says no more then.
        raise InputError(
            f"no Ray cluster answers at --address {address!r}: {words:.300}. If it asks for its "
            f"token, {TOKEN}"
        ) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _check_reachable(address: str) -> None:
    """Raise InputError where nothing listens at HOST:PORT: Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        return  # such as auto; Ray names what is none of its addresses
    try:
        with socket.create_connection((host.strip("[]"), int(port)), SECONDS):
            return
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(
            f"no Ray cluster answers at --address {address!r}: {error}; the command `ray start "
            "--head` printed the address, and a firewall may be in the way"
        ) from error


def _reason(error: Any) -> str | None:  # noqa: ANN401  # ray has no types
    """Why tasks or actors failed, in a line; None where that is a fault of the program."""
    import ray

    cause = error
    while isinstance(cause, ray.exceptions.RayTaskError):
        cause = cause.cause
    if isinstance(cause, ray.exceptions.UserCodeException):
        cause = cause.__cause__
    if isinstance(cause, InputError):
        return str(cause)
    if isinstance(cause, (OSError, ImportError, ray.exceptions.RayError)):
        # Ray's own end with what happened, behind the frames of a process that is gone.
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if isinstance(cause, ray.exceptions.RayActorError) and cause.actor_init_failed:
            return last.removeprefix(f"{InputError.__module__}.{InputError.__name__}: ")
        return last if last.startswith(type(cause).__name__) else f"{type(cause).__name__}: {last}"
    return None
