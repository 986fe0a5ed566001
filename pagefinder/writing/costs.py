"""How many requests and tokens a run will take, before the first call."""

from typing import NamedTuple

from pagefinder.params_writing import Writer

# Of Qwen3-VL: a token of a picture stands for 32 x 32 pixels. Other models take about as many.
PIXELS_PER_TOKEN = 32 * 32
# The prompts, at four characters a token.
WRITER_PROMPT_TOKENS, JUDGE_PROMPT_TOKENS = 800, 350
# A question with its kind, answer and evidence; a verdict of the judge with evidence and reason.
QUESTION_TOKENS, VERDICT_TOKENS = 120, 80


class Estimate(NamedTuple):
    """Requests and tokens of a run, the most that it can take."""

    write_requests: int
    judge_requests: int
    tokens_in: int
    tokens_out: int

    def __str__(self) -> str:
        return (
            f"{self.write_requests} requests to write and up to {self.judge_requests} to judge, "
            f"about {self.tokens_in / 1e6:.2f} million tokens in and "
            f"{self.tokens_out / 1e6:.2f} million out"
        )


def estimate(pages: int, judged: int, settings: Writer, kept: int = 0) -> Estimate:
    """The most requests and tokens for so many requests about a page each.

    Args:
        pages: Requests to write, each about one page in one language.
        judged: The most requests to the judge for one question, each with one page.
        settings: Of the writer.
        kept: Requests to write whose answers are kept; their questions may still be judged.
    """
    picture = settings.max_pixels // PIXELS_PER_TOKEN
    left = pages - kept
    judge_requests = pages * settings.per_page * judged
    return Estimate(
        left,
        judge_requests,
        left * (picture + WRITER_PROMPT_TOKENS) + judge_requests * (picture + JUDGE_PROMPT_TOKENS),
        left * settings.per_page * QUESTION_TOKENS + judge_requests * VERDICT_TOKENS,
    )
