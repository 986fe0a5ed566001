"""How many requests and tokens a run will take, before the first call."""

from typing import NamedTuple

from pagefinder.params import Writer

# Of Qwen3-VL: a token of a picture stands for 32 x 32 pixels. Other models take about as many.
PIXELS_PER_TOKEN = 32 * 32
CHARACTERS_PER_TOKEN = 4
# A question with its kind and answer; a verdict of the judge with its reason.
QUESTION_TOKENS, VERDICT_TOKENS = 80, 40


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


def estimate(pages: int, prompt: str, judged: int, settings: Writer) -> Estimate:
    """The most requests and tokens for so many requests about a page each.

    Args:
        pages: Requests to write, each about one page in one language.
        prompt: The rendered prompt of the writer; a prompt of the judge counts as long.
        judged: The most requests to the judge for one question.
        settings: Of the writer.
    """
    shown = settings.max_pixels // PIXELS_PER_TOKEN + len(prompt) // CHARACTERS_PER_TOKEN
    questions = pages * settings.per_page
    judge_requests = questions * judged
    return Estimate(
        pages,
        judge_requests,
        (pages + judge_requests) * shown,
        questions * QUESTION_TOKENS + judge_requests * VERDICT_TOKENS,
    )
