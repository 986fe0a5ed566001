import os

import pytest
import yaml
from sources import CONTENT

from pagefinder.errors import InputError
from tools.check_input import check


def test_what_dvc_cannot_read_is_named_before_it_starts(tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({**CONTENT, "input": "raw"}))
    check(tmp_path)  # no such folder: the source says so where it needs one
    (tmp_path / "raw/deep").mkdir(parents=True)
    (tmp_path / "raw/1.png").write_bytes(b"")
    (tmp_path / "raw/link.png").symlink_to("1.png")
    check(tmp_path)
    os.mkfifo(tmp_path / "raw/deep/pipe.pdf")
    (tmp_path / "raw/nothing.pdf").symlink_to("nowhere")
    with pytest.raises(InputError, match="holds 2 things that are no files") as error:
        check(tmp_path)
    assert "nothing.pdf (a link to nothing), deep/pipe.pdf (a pipe" in str(error.value)
