"""The files of one e-print in memory, and which of them is the paper.

arXiv hands out what an author sent in as a gzip of one TeX file, a gzip of a tar archive, or a PDF where there is no
source (https://info.arxiv.org/help/bulk_data_s3.html). Nothing is unpacked to the disk, and only text is kept.
"""

import io
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from itertools import chain

from mlxllm.data.sources.archives import is_tar, tar_members
from mlxllm.data.sources.files import DamagedFileError, read_chunks
from mlxllm.data.sources.latex.errors import LatexError

MOST_UNPACKED = 512 << 20
"""Bytes of an e-print with its pictures; what is behind that is not looked at."""
MOST_TEXT = 32 << 20
"""Bytes of its text files."""
_MOST_MEMBERS = 20_000
_KEPT = (".tex", ".ltx", ".latex", ".bbl", ".sty", ".cls", ".txt", ".tikz", ".def")
_NO_SUFFIX_BYTES = 4 << 20
"""Of a file without a suffix, which may be TeX."""
_READMES = ("00readme.json", "00readme.xxx", "00readme", "00readme.yaml")
_CLASS = re.compile(r"^[^%\n]*\\document(?:class|style)\s*(?:\[[^\]]*\])?\s*\{\s*([^}]*?)\s*\}", re.MULTILINE)
_BEGIN = re.compile(r"^[^%\n]*\\begin\s*\{document\}", re.MULTILINE)
_PLAIN = re.compile(
    r"\\(?:bye|magnification|input\s*(?:harvmac|amstex|phyzzx|lanlmac|epsf|jytex)|documentstyle|beginsection|end)(?![a-zA-Z])"
)
_INPUTENC = re.compile(r"\\usepackage\s*\[\s*([\w-]+)\s*\]\s*\{inputenc\}|\\inputencoding\{([\w-]+)\}")
_ENCODINGS = {
    "latin1": "latin-1", "latin2": "iso8859-2", "latin3": "iso8859-3", "latin4": "iso8859-4", "latin5": "iso8859-9",
    "latin9": "iso8859-15", "latin10": "iso8859-16", "ansinew": "cp1252", "cp1250": "cp1250", "cp1251": "cp1251",
    "cp1252": "cp1252", "cp850": "cp850", "cp866": "cp866", "koi8-r": "koi8-r", "koi8-u": "koi8-u",
    "applemac": "mac-roman", "macce": "mac-latin2",
}  # fmt: skip
_LIKELY = ("main", "ms", "paper", "article", "manuscript", "root", "arxiv", "draft")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FOREIGN = ((b"%PDF", "PDF only"), (b"%!", "PostScript only"), (b"PK\3\4", "no LaTeX"), (b"\x1f\x9d", "no LaTeX"))


def paper_files(eprint: bytes) -> tuple[dict[str, str], str]:
    """The text files of an e-print by path, and the path of its main file.

    Raises:
        LatexError: it holds no TeX (a PDF, pictures only), is damaged or too large.
    """
    try:
        raw = _text_files(eprint)
    except DamagedFileError as error:
        raise LatexError("damaged e-print", str(error)) from None
    options = (match for data in raw.values() for match in _INPUTENC.finditer(data.decode("latin-1")))
    declared = next((_ENCODINGS[name] for match in options if (name := match[1] or match[2]) in _ENCODINGS), "cp1252")
    files = {path: _decoded(data, declared) for path, data in raw.items()}
    return files, main_file(files)


def main_file(files: Mapping[str, str]) -> str:
    """The path of the file that TeX would be started with.

    It is what arXiv's 00README says, or else the most likely file with a document class and a beginning, or else one
    of plain TeX.

    Raises:
        LatexError: there is none.
    """
    named = _named_in_readme(files)
    if named is not None:
        return named
    sources = {
        path: text for path, text in files.items() if not path.lower().endswith((".sty", ".cls", ".bbl", ".def"))
    }
    sources = {path: text for path, text in sources.items() if posixpath.basename(path).lower() not in _READMES}
    for wanted in ((_CLASS, _BEGIN), (_CLASS,), (_BEGIN,), (_PLAIN,)):
        found = [path for path, text in sources.items() if all(pattern.search(text) for pattern in wanted)]
        if found:
            return max(sorted(found, reverse=True), key=lambda path: _likelihood(path, files))
    found = [path for path, text in sources.items() if path.lower().endswith(".tex") and "\\" in text]
    if not found:
        raise LatexError("no LaTeX", f"{len(files)} text files, none of which TeX could begin with")
    return max(sorted(found, reverse=True), key=lambda path: len(files[path]))


def _text_files(eprint: bytes) -> dict[str, bytes]:
    chunks = _limited(read_chunks(io.BytesIO(eprint)))
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= 512:
            break
    for magic, reason in _FOREIGN:
        if head.startswith(magic):
            raise LatexError(reason)
    if not head.strip():
        raise LatexError("no LaTeX", "an empty file")
    whole = chain((head,), chunks)
    if not is_tar(head):
        text = _all(whole, MOST_TEXT)
        if text.lstrip().startswith(b"%auto-ignore"):
            raise LatexError("withdrawn")
        if b"\\" not in text or b"\0" in text:
            raise LatexError("no LaTeX", f"a file that begins with {text[:16]!r}")
        return {"main.tex": text}
    files: dict[str, bytes] = {}
    size = members = 0
    seen = ""
    for name, member in tar_members(whole):
        members += 1
        if members > _MOST_MEMBERS:
            raise LatexError("e-print too large", f"more than {_MOST_MEMBERS:,} files")
        path = _safe_path(name)
        if path is None or not _is_kept(path):
            seen = seen or posixpath.splitext(name)[1].lower()
            continue
        data = _all(member, (MOST_TEXT - size) if "." in path else _NO_SUFFIX_BYTES)
        if "." not in posixpath.basename(path) and (b"\0" in data or b"\\" not in data):
            continue
        files[path] = data
        size += len(data)
    if not files:
        raise LatexError("PDF only" if seen == ".pdf" else "no LaTeX", f"an archive of {members:,} other files")
    return files


def _limited(chunks: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MOST_UNPACKED:
            raise LatexError("e-print too large", f"more than {MOST_UNPACKED >> 20} MiB unpacked")
        yield chunk


def _all(chunks: Iterator[bytes], most: int) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > most:
            raise LatexError("e-print too large", f"more than {MOST_TEXT >> 20} MiB of text")
    return bytes(data)


def _safe_path(name: str) -> str | None:
    """The path of a member inside its archive; None for one that leads out of it, and for what macOS adds."""
    if name.startswith("/") or "\\" in name:
        return None
    path = posixpath.normpath(name)
    parts = path.split("/")
    if ".." in parts or parts[-1].startswith("._") or "__MACOSX" in parts or parts[-1] in (".", ""):
        return None
    return path


def _is_kept(path: str) -> bool:
    name = posixpath.basename(path).lower()
    return name.endswith(_KEPT) or name in _READMES or "." not in name


def _decoded(data: bytes, declared: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode(declared, errors="replace")
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _named_in_readme(files: Mapping[str, str]) -> str | None:
    for path, text in files.items():
        name = posixpath.basename(path).lower()
        if name == "00readme.json":
            try:
                listed = json.loads(text).get("sources", [])
                wanted = [item["filename"] for item in listed if item.get("usage") == "toplevel"]
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue
        elif name in _READMES:
            wanted = [words[0] for line in text.splitlines() if (words := line.split())[1:2] == ["toplevelfile"]]
        else:
            continue
        for file in wanted:
            found = posixpath.normpath(posixpath.join(posixpath.dirname(path), str(file)))
            if found in files:
                return found
    return None


def _likelihood(path: str, files: Mapping[str, str]) -> tuple[bool, int, int, int]:
    """Larger is more likely: a whole paper before a part or a picture of it, one with its bibliography, a telling name."""
    text = files[path]
    document_class = match[1] if (match := _CLASS.search(text)) else ""
    stem = posixpath.splitext(path)[0]
    points = 3 * (f"{stem}.bbl" in files)
    points += 2 * ("\\maketitle" in text or "\\title" in text)
    points += 2 * ("abstract" in text)
    points += 2 * (posixpath.basename(stem).lower() in _LIKELY)
    points += "\\section" in text or "\\input" in text or "\\include" in text
    points -= sum(word in posixpath.basename(stem).lower() for word in ("supp", "response", "cover", "letter", "reply"))
    whole = document_class not in ("standalone", "subfiles", "letter") and "beamer" not in document_class
    return whole, points, -path.count("/"), len(text)
