"""Byte-level tokenizers that keep Qwen's special tokens and lower-case all text."""

import string
from collections.abc import Iterable
from functools import lru_cache

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

SPECIALS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
SPACE, NEWLINE = "\u0120", "\u010a"  # how byte-level BPE writes a blank and a line end
PAIRS = Regex(r" ?[a-z]{1,2}| ?[0-9]{1,2}| ?[^a-z0-9 ]| +")


def pair_tokenizer(padding_side: str) -> PreTrainedTokenizerFast:
    """Return the bundled models' tokenizer: pairs of letters and of digits, from each word's start.

    So nearly all tokens of words have one length, and a token's neighbours stand at fixed distances
    from it on a page.
    """
    merges: list[tuple[str, str]] = []
    for symbols in (string.ascii_lowercase, string.digits):
        merges += [(SPACE, one) for one in symbols]
        merges += [(one, two) for one in symbols for two in symbols]
        merges += [(SPACE + one, two) for one in symbols for two in symbols]
    entries = SPECIALS + sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(m) for m in merges]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(PAIRS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    fast = _for_qwen(tokenizer, padding_side)
    # The two answers are whole tokens, as in a large model's vocabulary.
    fast.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in ("yes", "no")])
    return fast


def train_tokenizer(texts: Iterable[str], vocabulary: int = 1536) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of `vocabulary` entries, each digit a token, for other models."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text.lower() for text in texts), trainer)
    return _for_qwen(tokenizer, "right")


def _for_qwen(tokenizer: Tokenizer, padding_side: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer, lower-casing, with the special tokens that Qwen's processor needs."""
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIALS[1:],
        model_max_length=2048,
        padding_side=padding_side,
    )


@lru_cache(maxsize=200_000)
def word_pieces(
    tokenizer: PreTrainedTokenizerFast, word: str
) -> tuple[tuple[int, tuple[int, int]], ...]:
    """Return the tokens of a word inside a text: (id, (start, end)), places in ` word`."""
    encoding = tokenizer.backend_tokenizer.encode(f" {word}", add_special_tokens=False)
    return tuple(zip(encoding.ids, encoding.offsets, strict=True))
