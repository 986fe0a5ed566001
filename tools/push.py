"""Put the released models on the Hub: `python -m tools.push --yes NAME/PREFIX`.

Without --yes nothing is sent: what would be uploaded is listed. The repositories are
NAME/PREFIX-embedder and NAME/PREFIX-reranker, private until their owner makes them public.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pagefinder.layout import RELEASE

MODELS = ("embedder", "reranker")


def main(arguments: Sequence[str] | None = None, root: Path = Path()) -> int:
    """List the files, and with --yes upload them; return 1 where that fails, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.push", description=__doc__)
    parser.add_argument("--yes", metavar="REPO_PREFIX", help="really upload, e.g. me/my-pages")
    prefix = parser.parse_args(arguments).yes
    folders = {name: root / RELEASE / name for name in MODELS}
    if not folders["embedder"].is_dir():
        sys.stderr.write(f"{folders['embedder']} is not there: run `make repro` first\n")
        return 1
    # A pipeline without a reranker releases none.
    folders = {name: folder for name, folder in folders.items() if folder.is_dir()}
    for name, folder in folders.items():
        sys.stdout.write(f"{folder} -> {prefix or 'REPO_PREFIX'}-{name}\n")
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            size = path.stat().st_size / 2**20
            sys.stdout.write(f"  {size:10.2f} MiB  {path.relative_to(folder)}\n")
    if not prefix:
        sys.stdout.write("nothing was sent; add --yes REPO_PREFIX to upload\n")
        return 0
    # Imported only here: a dry run needs no Hub.
    from huggingface_hub import HfApi

    hub = HfApi()
    for name, folder in folders.items():
        try:
            repository = hub.create_repo(f"{prefix}-{name}", private=True, exist_ok=True).repo_id
            hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload model")
        except Exception as error:  # the client lets the errors of its transport through
            reason = " ".join(str(error).split())[:300]
            sys.stderr.write(f"error: {prefix}-{name} was not uploaded: {reason}\n")
            return 1
        sys.stdout.write(f"uploaded {repository}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
