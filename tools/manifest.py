"""Track a large index by a small file: `python -m tools.manifest INDEX FILE`.

The file names the version of the index and its fragments, whose files never change. The version
gets a tag, so that later updates delete none of them. DVC or Git then tracks the file, not the
index; needs pip install 'pagefinder[ray]'.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec

from pagefinder.errors import InputError
from pagefinder.indexing import fragments, schema, store


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, check or restore as the command line says; 1 after a mistake or a difference."""
    parser = argparse.ArgumentParser(prog="python -m tools.manifest", description=__doc__)
    parser.add_argument("index", help="a folder, or an address such as s3://bucket/index")
    parser.add_argument("file", type=Path, help="the manifest, such as index.json")
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--check", action="store_true", help="compare the index with the file")
    does.add_argument("--restore", action="store_true", help="make that version the newest again")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            sys.stdout.write(check(options.index, _read(options.file)) + "\n")
        elif options.restore:
            manifest = _read(options.file)
            check(options.index, manifest)
            table = _open(options.index)
            table.checkout(manifest["version"])
            table.restore()
            sys.stdout.write(f"version {manifest['version']} is the newest again\n")
        else:
            manifest = describe(options.index)
            options.file.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            sys.stdout.write(f"{options.file}: {_summary(manifest)}\n")
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def describe(place: str) -> dict[str, Any]:
    """The manifest of the newest version of an index, which gets a tag."""
    if find_spec("lance") is None:
        raise InputError("a manifest needs lance: pip install 'pagefinder[ray]'")
    import lance

    table = _open(place)
    version, tags = table.version, table.tags
    tag = f"manifest-{version}"
    if tag not in tags.list():
        tags.create(tag, version)
    found = []
    for fragment in lance.dataset(fragments.uri_of(place), version=version).get_fragments():
        about = fragment.metadata
        files = {file.path: file.file_size_bytes for file in about.files}
        found.append({"rows": about.physical_rows, "deleted": about.num_deletions, "files": files})
    return {
        "version": version,
        "tag": tag,
        "model": (table.schema.metadata or {})[schema.MODEL_KEY].decode(),
        "rows": table.count_rows(),
        "bytes": sum(size for fragment in found for size in fragment["files"].values()),
        "fragments": found,
    }


def check(place: str, manifest: dict[str, Any]) -> str:
    """A line that says that the files of a manifest are there, each as large as it was.

    Raises:
        InputError: the version, or a file, is gone or of another size.
    """
    _open(place)
    system, base = fsspec.core.url_to_fs(f"{fragments.uri_of(place)}/data")
    sizes = {
        Path(path).name: about["size"] for path, about in system.find(base, detail=True).items()
    }
    wrong = [
        path
        for fragment in manifest["fragments"]
        for path, size in fragment["files"].items()
        if sizes.get(Path(path).name) != size
    ]
    if wrong:
        raise InputError(
            f"{len(wrong)} files of version {manifest['version']} are not in {place} as they were, "
            f"{wrong[0]} among them: copy them back, or build the index anew"
        )
    return f"{place} holds all of {_summary(manifest)}"


def _open(place: str) -> Any:  # noqa: ANN401  # lancedb has no types
    """The table of an index."""
    table = store.open_table(place)
    if table is None:
        raise InputError(f"{place} holds no index: name the folder of one")
    return table


def _read(file: Path) -> dict[str, Any]:
    """A manifest that `describe` made."""
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {name: manifest[name] for name in ("version", "rows", "bytes", "fragments")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no manifest of an index ({error}): write it anew") from error


def _summary(manifest: dict[str, Any]) -> str:
    """What a manifest says, in a line."""
    count, size = len(manifest["fragments"]), manifest["bytes"] / 1e6
    return (
        f"version {manifest['version']}: {manifest['rows']} pages, {count} fragments, {size:.1f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
