"""The prompts: placeholders and kinds, and that the package holds their files."""

import fnmatch
import tomllib
from pathlib import Path

from pagefinder.writing import prompts

ROOT = Path(__file__).parents[2]


def test_the_writer_is_told_number_kinds_language_and_title() -> None:
    prompt = prompts.write(3, ["table", "keyword"], "de", "Bericht 2024")
    assert "Write 3 questions" in prompt
    assert f"- table: {prompts.KINDS['table']}" in prompt
    assert "- factual" not in prompt
    assert "in German, whatever the page" in prompt
    assert "The document is filed as: Bericht 2024." in prompt


def test_a_document_may_have_no_title() -> None:
    assert "The name of the document is not known." in prompts.write(1, ["figure"], "French")


def test_page_stands_for_the_language_of_the_page() -> None:
    prompt = prompts.write(1, ["figure"], "page")
    assert "questions and answers in the language of the page." in prompt
    assert "whatever the page" not in prompt


def test_nothing_in_a_question_is_taken_for_a_placeholder() -> None:
    question = "What costs $answer or $5 {now}?"
    assert question in prompts.judge_answer(question, "$question")
    assert question in prompts.judge_page(question)


def test_a_judge_of_other_pages_does_not_see_the_answer() -> None:
    assert "Answer:" not in prompts.judge_page("What?")


def test_the_forms_are_what_the_prompts_ask_for() -> None:
    for text, form in (
        (prompts.write(1, ["factual"], "English"), prompts.WrittenQuestion),
        (prompts.judge_answer("?", "!"), prompts.AnswerJudgement),
        (prompts.judge_page("?"), prompts.PageJudgement),
    ):
        for name in form.model_fields:
            assert f"{name}:" in text or name == "question", name
            # Also where the server takes no schema.
            assert f'"{name}": ' in text.split("JSON object")[1], name


def test_the_package_holds_the_files_of_the_prompts() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["pagefinder"]
    files = [path for path in prompts.FOLDER.iterdir() if path.suffix not in (".py", "")]
    assert len(files) == 4
    for path in files:
        name = path.relative_to(ROOT / "pagefinder").as_posix()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name
