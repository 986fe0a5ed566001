"""Find questions that ask the same in nearly the same words, without comparing all pairs."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence


def repeated(words: Sequence[frozenset[str]], similarity: float) -> list[int | None]:
    """For each set of words the first earlier one that it repeats; None where it repeats none.

    Two sets are near-duplicates if their words with digits are the same and their Jaccard
    similarity, the words in common over all words, is at least `similarity`. A set that repeats
    another one is not itself repeated. Of two sets that similar, the rarest words of each, which
    its length and `similarity` number, have one in common (prefix filter, Chaudhuri et al., 2006):
    only those are looked up.
    """
    frequency = Counter(word for one in words for word in one)
    rows_by_word: dict[str, list[int]] = defaultdict(list)
    originals: list[int | None] = []
    for row, one in enumerate(words):
        rarest = sorted(one, key=lambda word: (frequency[word], word))
        prefix = rarest[: len(one) - math.ceil(similarity * len(one) - 1e-9) + 1]
        candidates = sorted({other for word in prefix for other in rows_by_word[word]})
        original = next((c for c in candidates if _alike(one, words[c], similarity)), None)
        originals.append(original)
        if original is None:
            for word in prefix:
                rows_by_word[word].append(row)
    return originals


def _alike(one: frozenset[str], other: frozenset[str], similarity: float) -> bool:
    """Whether two sets hold the same numbers and are as similar as that."""
    if {w for w in one if _has_digit(w)} != {w for w in other if _has_digit(w)}:
        return False
    return len(one & other) >= similarity * len(one | other)


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)
