"""A search page in the browser: `python -m pagefinder.app`, or `make app`.

It searches the corpus of the last run, a folder of images and PDFs or, with --index alone, an index
as it is, with the released models; what is uploaded there is found seconds later. Only this machine
reaches it, unless --host says otherwise: whoever reaches it may search, read the pages and upload.
"""

import argparse
import importlib.util
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pagefinder.commands import exit_status
from pagefinder.errors import InputError
from pagefinder.layout import RELEASE

if TYPE_CHECKING:
    from pagefinder.serving.desk import Options

log = logging.getLogger("pagefinder.app")  # also where it runs as __main__

LOCAL = ("127.0.0.1", "localhost", "::1")
ANY = ("0.0.0.0", "::")
PAGE = Path(__file__).with_name("serving") / "page_script.py"


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the models and the index, then serve the page until Ctrl-C.

    Returns:
        The exit status: 1 after a user's mistake, which the log names.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    return exit_status(lambda: _serve(parse(given), given), log)


def _serve(options: argparse.Namespace, given: list[str]) -> int:
    """Serve as the options say, which are those of the arguments `given`; the exit status."""
    check_port(options.host, options.port)
    if importlib.util.find_spec("streamlit") is None:
        raise InputError("streamlit is not installed: run `make app`, or install pagefinder[app]")
    from pagefinder.serving.desk import open_desk

    desk = open_desk(desk_options(options))
    from streamlit.web import bootstrap

    host = f"[{options.host}]" if ":" in options.host else options.host
    log.info(
        "%d pages to search: open http://%s:%d (Ctrl-C ends it)", desk.count(), host, options.port
    )
    if options.host not in LOCAL:
        log.warning("whoever reaches %s may search, read all pages and upload", options.host)
    settings = {
        name.replace(".", "_"): value
        for name, value in server_settings(options.host, options.port).items()
    }
    bootstrap.load_config_options(settings)
    bootstrap.run(str(PAGE), False, given, settings)
    end_at_once()
    return 0


def end_at_once() -> None:
    """End the process, whatever its threads do.

    The interpreter's own end waits for native code of models and index, which may take minutes. The
    index may be cut off at any time: see `indexing.store`.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m pagefinder.app", description=__doc__)
    parser.add_argument("--pages", type=Path, help="folder of images and PDFs; default: last run's")
    parser.add_argument("--models", type=Path, default=RELEASE, help="the release's folder")
    parser.add_argument("--index", metavar="PLACE", help="where the index is")
    parser.add_argument(
        "--no-ocr", action="store_true", help="leave pages without text as they are"
    )
    parser.add_argument("--host", default=LOCAL[0], help="address to listen at (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8501, help="port to listen at (8501)")
    return parser.parse_args(arguments)


def desk_options(options: argparse.Namespace) -> "Options":
    """What the options say of models and pages."""
    from pagefinder.serving.desk import Options

    return Options(options.models, options.pages, options.index, not options.no_ocr)


def check_port(host: str, port: int) -> None:
    """Raise an InputError unless the server may listen there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot listen at {host}, port {port} ({error}): name others with --host and --port, "
            'behind make as ARGS="--port 9000"'
        ) from error


def server_settings(host: str, port: int) -> dict[str, object]:
    """Streamlit's settings, which no file of the user changes: nothing is sent anywhere."""
    from pagefinder.serving import uploads

    return {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        # A web page elsewhere may point a name of its own at this machine.
        "server.allowedHosts": []
        if host in ANY
        else sorted({host, *LOCAL} if host in LOCAL else {host}),
        "server.maxUploadSize": uploads.FILE_MB,
        "server.fileWatcherType": "none",
        "server.enableStaticServing": False,
        "server.enableAgentApi": False,
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.disconnectedSessionTTL": 60,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "ui.hideTopBar": True,
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "logger.hideWelcomeMessage": True,
        "logger.level": "warning",
        "global.developmentMode": False,
    }


if __name__ == "__main__":
    sys.exit(main())
