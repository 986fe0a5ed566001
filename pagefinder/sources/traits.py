"""What is special about a source, for the stages after `download`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceTraits:
    """Facts about the pages and queries of a source.

    Attributes:
        complete_qrels: The qrels name every relevant page, so false negatives can be counted.
        neighbouring_pages: Pages before and after a positive, in its document, that may answer its
            query too: `mine.same_document_pages: -1` excludes as many as negatives.
        may_crash: Native code reads the user's files when `prepare` renders pages, and may crash.
    """

    complete_qrels: bool = False
    neighbouring_pages: int = 0
    may_crash: bool = False


_TRAITS = {
    "generated": SourceTraits(complete_qrels=True),
    # A section runs on, and its heading is a question that the next page answers as well.
    "pdf": SourceTraits(neighbouring_pages=2, may_crash=True),
}


def source_traits(source: str) -> SourceTraits:
    """The facts about a source, by its name in `data.source`."""
    return _TRAITS.get(source, SourceTraits())
