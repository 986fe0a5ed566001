"""The search page, as Streamlit shows it: `pagefinder.app` starts it, with its arguments.

Streamlit calls `main` anew for every user and every click. Texts that come from files are shown
as escaped HTML, never as Markdown, in which a file's name could load an image from elsewhere.
"""

import base64
import html
import sys
import time

import streamlit as st

from pagefinder.app import desk_options, parse
from pagefinder.errors import InputError
from pagefinder.serving import uploads
from pagefinder.serving.adding import REFUSED, Upload, counted
from pagefinder.serving.desk import MAX_QUESTION, Answer, Desk, Result, open_desk

POLL = 0.5  # seconds between two looks at uploads that wait
UNANSWERED = "No page answers this, as far as the scores tell. The nearest pages:"
STYLE = """<style>
[data-testid="stToolbar"], [data-testid="InputInstructions"] { display: none; }
.block-container { padding-top: 2.5rem; max-width: 72rem; }
.st-key-results { display: grid !important; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); align-items: start; }
.st-key-results > * { width: 100% !important; min-width: 0; }
[class*="st-key-result-"] { position: relative; }
[class*="st-key-open-"] { position: absolute !important; inset: 0; z-index: 1;
  width: 100% !important; }
[class*="st-key-open-"] * { width: 100%; height: 100%; }
[class*="st-key-open-"] button { opacity: 0; cursor: zoom-in; }
[class*="st-key-open-"] button:focus-visible { opacity: 1; background: none; outline: 3px solid; }
[class*="st-key-open-"] button p { opacity: 0; }
.page { margin: 0; }
.page img, .page div { display: block; width: 100%; max-height: 16rem; object-fit: contain;
  background: rgba(128, 128, 128, .15); outline: 1px solid rgba(128, 128, 128, .35);
  border-radius: .4rem; }
.page div { aspect-ratio: 4/3; }
.page figcaption { font-size: .85rem; line-height: 1.35; margin-top: .4rem;
  overflow-wrap: anywhere; }
.seconds { opacity: .7; font-size: .875rem; overflow-wrap: anywhere; }
.page small { opacity: .7; font-size: .8rem; }
</style>"""


def main() -> None:
    """Show the page as its user left it."""
    st.set_page_config("pagefinder", "🔎", "wide", menu_items={"About": None})
    st.html(STYLE)
    desk = open_desk(desk_options(parse(sys.argv[1:])))
    state = st.session_state
    st.title("Find a page", anchor=False)
    st.caption(_size(desk))
    with st.form("search", border=False, enter_to_submit=True):
        left, right = st.columns([6, 1], vertical_alignment="bottom")
        left.text_input(
            "Question",
            key="question",
            max_chars=MAX_QUESTION,
            placeholder="What do you want to know?",
            label_visibility="collapsed",
        )
        right.form_submit_button("Search", type="primary", width="stretch")
    _examples(desk)
    rerank, fusion = _switches(desk)
    _add_files(desk)
    question = (state.get("question") or "").strip()
    if question:
        # A click on a page, too, runs all of this: it searches no second time.
        key = (question, rerank, fusion, desk.version)
        if state.get("asked") != key:
            try:
                with st.spinner("Searching"):
                    state.answer = desk.search(question, rerank=rerank, fusion=fusion)
            except InputError as error:
                st.error(_plain(str(error)))
                return
            state.asked = key
        _show(question, state.answer)
        if enlarged := state.pop("enlarged", None):
            _enlarge(desk, enlarged)
            return  # another run would close it; closing it is one
    if any(not upload.ended for upload in state.get("uploads", [])):
        time.sleep(POLL)
        st.rerun()


def _size(desk: Desk) -> str:
    """How much there is to search, and what is still to come."""
    waiting = desk.adding.waiting()
    files = f" {counted(waiting, 'added file')} still to be read." if waiting else ""
    return f"{counted(desk.count(), 'page')} to search.{files} Ask in your own words."


def _examples(desk: Desk) -> None:
    """Questions to try, until one is asked."""
    examples = [] if st.session_state.get("question") else desk.examples
    if examples:
        with st.container(horizontal=True, key="examples"):
            for number, text in enumerate(examples):
                st.button(_plain(text), key=f"example-{number}", on_click=_ask, args=[text])


def _ask(question: str) -> None:
    st.session_state.question = question


def _switches(desk: Desk) -> tuple[bool, bool]:
    """Whether to rerank, and to fuse with BM25: as far as the release has them."""
    rerank, fusion = False, True
    with st.container(horizontal=True, key="switches"):
        if desk.has_fusion:
            fusion = st.toggle(
                "Also by words (BM25)",
                True,
                help="Pages that hold the words of the question, such as names, come further up.",
            )
        if desk.has_reranker:
            rerank = st.toggle(
                "Rerank",
                help="A second model reads the question together with each of the first pages: "
                "slower.",
            )
    return rerank, fusion


def _add_files(desk: Desk) -> None:
    """Upload files, and show how far they are."""
    state = st.session_state
    with st.expander("Add a PDF or images", icon=":material/upload_file:"):
        # A new key empties the widget: the content of a file is not held any longer than needed.
        key = f"files-{state.setdefault('round', 0)}"
        files = st.file_uploader(
            f"PDF or images, up to {uploads.FILE_MB} MB each. Everybody who has this page open "
            "can then find them.",
            [suffix[1:] for suffix in uploads.SUFFIXES],
            accept_multiple_files=True,
            key=key,
        )
        if files:
            sent: list[Upload] = state.setdefault("uploads", [])
            sent.extend(desk.adding.add(file.name, file.getvalue()) for file in files)
            del sent[:-10]
            state["round"] += 1
            st.rerun()
    for upload in state.get("uploads", []):
        # One element each: Streamlit shows what a shorter page lacks for a while longer.
        colour = ' style="color: #d33"' if upload.state == REFUSED else ""
        text, kind = html.escape(upload.sentence()), "upload ended"
        if not upload.ended:
            bar = f'<progress max="{upload.pages or 1}" value="{upload.done}"></progress>'
            text, kind = f"{bar} {text}", "upload"
        st.html(f'<div class="{kind}" role="status"{colour}>{text}</div>')


def _show(question: str, answer: Answer) -> None:
    """The pages that were found."""
    if not answer.answered:
        st.info(UNANSWERED, icon=":material/search_off:")
    pages = counted(len(answer.results), "page")
    st.html(
        f'<div class="seconds">{pages} for “{html.escape(question)}” in {answer.seconds:.2f} s. '
        "Select one to enlarge it.</div>"
    )
    with st.container(key="results"):
        for result in answer.results:
            with st.container(key=f"result-{result.rank}", gap=None):
                st.html(_card(result))
                st.button(
                    f"Enlarge page {result.rank}",
                    key=f"open-{result.rank}",
                    on_click=_select,
                    args=[result],
                )


def _select(result: Result) -> None:
    # The page that was clicked, though a new upload may have changed the ranks since.
    st.session_state.enlarged = result


def _card(result: Result) -> str:
    """A page with its rank, document, number and score, as HTML."""
    number = "" if result.number is None else f"page {result.number} · "
    picture = '<div aria-hidden="true"></div>'
    if result.thumbnail:
        data = base64.b64encode(result.thumbnail).decode()
        picture = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    return (
        f'<figure class="page">{picture}<figcaption><b>{result.rank}.</b> '
        f"{html.escape(result.document)}<br><small>{number}score {result.score:.3f}</small>"
        "</figcaption></figure>"
    )


def _enlarge(desk: Desk, result: Result) -> None:
    """Open a page to read, in a dialog."""
    number = "" if result.number is None else f", page {result.number}"
    title = _plain(f"{result.document}{number}")
    st.dialog(title, width="medium", on_dismiss="rerun")(_enlarged)(desk, result)


def _enlarged(desk: Desk, result: Result) -> None:
    """The image of a page."""
    try:
        st.image(desk.enlarge(result.page), width="stretch")
    except InputError as error:
        st.html(html.escape(str(error)))


def _plain(text: str) -> str:
    """A text that Streamlit takes for Markdown, so that it is shown as it is."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()<>#+-.!|~:$&" else c for c in text)
