"""Sources for tests: params with overrides, small pages, and PDF files written by hand."""

import copy
import io
from pathlib import Path

import numpy as np
from PIL import Image

from pagefinder import params_file

ROOT = Path(__file__).parents[2]
CONTENT = params_file.read(ROOT / "params.yaml")


def with_params(source, data=None, **changes):
    """Params of profile cpu with another source, `input` and prepare knobs."""
    content = copy.deepcopy(CONTENT)
    profile = content["profiles"]["cpu"]
    profile["data"]["source"] = source
    profile["data"][source].update(data or {})
    profile["pixels"] = {"min": 1024, "max": 16384, "multiple": 32}
    for key, value in changes.items():
        (content["prepare"] if key in content["prepare"] else content)[key] = value
    return params_file.parse(content)


def page(number, size=(64, 96), kind="PNG"):
    """Encoded bytes of a page of noise that differs from every other number's."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


BOLD = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold >>"


def write_pdf(path, pages, outline=(), title=None, encrypted=False, box=(595, 842)):
    """A PDF of Helvetica text.

    Args:
        path: Where to.
        pages: Per page a list of lines: text, or (text, size in points), from the top down, or a
            list of pieces of a line: (x in points, text, whether bold). None is a page with a grey
            box and no text.
        outline: Bookmarks (level, title, page index), in order.
        title: Of the document information.
        encrypted: With a password that nobody knows.
        box: Width and height of the pages, points.
    """
    objects = {1: "", 2: "", 3: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"}

    def add(body):
        objects[len(objects) + 1] = body
        return len(objects)

    kids = []
    for lines in pages:
        stream, y = "", 760
        if lines is None:
            stream, lines = "0.5 g 60 60 300 400 re f\n", ()
        for line in lines:
            text, size = line if isinstance(line, tuple) else (line, 11)
            for x, piece, bold in text if isinstance(text, list) else [(60, text, False)]:
                escaped = piece.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
                stream += f"BT /F{1 + bold} {size} Tf {x} {y} Td ({escaped}) Tj ET\n"
            y -= size + 6
        content = add(f"<< /Length {len(stream)} >>\nstream\n{stream}endstream")
        kids.append(
            add(
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {box[0]} {box[1]}] "
                f"/Resources << /Font << /F1 3 0 R /F2 {BOLD} >> >> /Contents {content} 0 R >>"
            )
        )
    references = " ".join(f"{kid} 0 R" for kid in kids)
    objects[2] = f"<< /Type /Pages /Kids [{references}] /Count {len(kids)} >>"
    outlines = _outline(add, objects, outline, kids) if outline else ""
    objects[1] = f"<< /Type /Catalog /Pages 2 0 R {outlines} >>"
    trailer = ""
    if title is not None:
        trailer += f" /Info {add(f'<< /Title ({title}) >>')} 0 R"
    if encrypted:
        key = "a5" * 32
        handler = f"<< /Filter /Standard /V 1 /R 2 /O <{key}> /U <{key}> /P -4 >>"
        trailer += f" /Encrypt {add(handler)} 0 R /ID [<{key[:32]}> <{key[:32]}>]"
    _write_objects(path, objects, trailer)


def _outline(add, objects, outline, kids):
    root = add("")
    numbers = [add("") for _ in outline]
    parents, stack = [], [root]
    for (level, _, _), number in zip(outline, numbers, strict=True):
        stack = stack[: level + 1]
        parents.append(stack[-1])
        stack.append(number)
    for index, ((_, title, target), number) in enumerate(zip(outline, numbers, strict=True)):
        siblings = [
            n for n, parent in zip(numbers, parents, strict=True) if parent == parents[index]
        ]
        place = siblings.index(number)
        following = f"/Next {siblings[place + 1]} 0 R" if place + 1 < len(siblings) else ""
        before = f"/Prev {siblings[place - 1]} 0 R" if place else ""
        objects[number] = (
            f"<< /Title ({title}) /Parent {parents[index]} 0 R {before} {following} "
            f"{_children(number, numbers, parents)} /Dest [{kids[target]} 0 R /XYZ 0 800 0] >>"
        )
    objects[root] = f"<< /Type /Outlines {_children(root, numbers, parents)} >>"
    return f"/Outlines {root} 0 R"


def _children(number, numbers, parents):
    children = [child for child, parent in zip(numbers, parents, strict=True) if parent == number]
    if not children:
        return ""
    return f"/First {children[0]} 0 R /Last {children[-1]} 0 R /Count {len(children)}"


def _write_objects(path, objects, trailer):
    body = b"%PDF-1.4\n"
    offsets = []
    for number in sorted(objects):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{objects[number]}\nendobj\n".encode("latin-1")
    start = len(body)
    body += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    body += "".join(f"{offset:010d} 00000 n \n" for offset in offsets).encode()
    body += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R{trailer} >>\n".encode()
    path.write_bytes(body + f"startxref\n{start}\n%%EOF\n".encode())
