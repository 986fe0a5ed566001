"""What several test modules start from; a module with a fixture of the same name has its own."""

import pytest
from tiny import write_tiny_corpus, write_vlm


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with the tiny vision-language checkpoint in models/vlm."""
    folder = tmp_path_factory.mktemp("root")
    write_vlm(folder / "models/vlm")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The tiny corpus of 40 pages."""
    return write_tiny_corpus(tmp_path_factory.mktemp("corpus") / "corpus")
