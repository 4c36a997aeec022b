"""Ready sets of data by name: what each is good for, its licence, how large it is, and where it comes from.

Sizes and licences are those that the pages of the sets tell; what a server says when it is asked goes before them.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from mlxllm.data.sources import shakespeare
from mlxllm.errors import ConfigError

SetKind = Literal["text", "conversations", "preferences"]


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file of a web server."""

    url: str
    name: str
    """How it is called here."""
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    """In hex."""


@dataclass(frozen=True, slots=True)
class WebListing:
    """The last few files, by name, of a folder that a web server lists."""

    url: str
    """Of the folder; it ends in a slash."""
    pattern: re.Pattern[str]
    """The names that are meant."""
    count: int
    """How many of them."""
    md5_suffix: str
    """Beside each file stands one with its MD5, in hex, called so."""


@dataclass(frozen=True, slots=True)
class HubFiles:
    """Files of a data set on the Hugging Face Hub."""

    dataset: str
    """`owner/name`."""
    patterns: tuple[str, ...]
    """Which files: shell patterns."""
    revision: str | None = None
    """A commit; None takes what its main branch holds when the download begins."""


@dataclass(frozen=True, slots=True)
class ReadySet:
    """One line of `mlxllm data get`."""

    name: str
    kind: SetKind
    """What training reads it: `train` text, `sft` conversations, `dpo` preferences."""
    good_for: str
    licence: str
    about_bytes: int | None
    """To download, about; None where only the server knows."""
    where: tuple[WebFile, ...] | WebListing | HubFiles
    train: str
    """The files to learn from: a pattern within its folder."""
    held_out: str | None = None
    """Its own validation records: a pattern."""
    source: str = "text"
    """The kind of source that reads it, if it is text."""
    gated: bool = False
    """Its terms have to be accepted on its page, with an account on the Hub."""

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        if isinstance(self.where, HubFiles):
            return f"{self.where.dataset} on the Hugging Face Hub"
        return self.where.url if isinstance(self.where, WebListing) else self.where[0].url


READY_SETS = (
    ReadySet(
        "tinyshakespeare",
        "text",
        "a first model within minutes, comparable with many tutorials",
        "public domain",
        shakespeare.BYTES,
        (WebFile(shakespeare.URL, shakespeare.FILE_NAME, shakespeare.BYTES, shakespeare.SHA256),),
        shakespeare.FILE_NAME,
    ),
    ReadySet(
        "tinystories",
        "text",
        "stories in a child's words, from which small models learn to write (Eldan and Li, 2023)",
        "CDLA-Sharing-1.0",
        2_250_000_000,
        HubFiles(
            "roneneldan/TinyStories",
            ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"),
            "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64",
        ),
        "TinyStoriesV2-GPT4-train.txt",
        "TinyStoriesV2-GPT4-valid.txt",
    ),
    ReadySet(
        "fineweb-edu-sample",
        "text",
        "web pages that teach something: general English and knowledge, some 700 million tokens",
        "ODC-By 1.0, and the terms of Common Crawl",
        2_150_000_000,
        HubFiles("HuggingFaceFW/fineweb-edu", ("sample/10BT/000_00000.parquet",)),
        "sample/10BT/000_00000.parquet",
        source="fineweb-edu",
    ),
    ReadySet(
        "refinedweb",
        "text",
        "general English of the web, filtered and deduplicated; the first 3 of 5,534 files",
        "ODC-By 1.0, and the terms of Common Crawl",
        911_000_000,
        HubFiles("tiiuae/falcon-refinedweb", ("data/train-0000[0-2]-of-05534-*.parquet",)),
        "data/train-*.parquet",
        source="refinedweb",
    ),
    ReadySet(
        "the-stack-smol",
        "text",
        "code: 10,000 Python files of public repositories",
        "each file its own, permissive ones; the terms of The Stack",
        None,
        HubFiles("bigcode/the-stack-smol", ("data/python/data.json",)),
        "data/python/data.json",
        gated=True,
    ),
    ReadySet(
        "pubmed",
        "text",
        "biomedical abstracts: the two newest files of the yearly baseline",
        "NLM's terms; many abstracts belong to their publishers",
        None,
        WebListing(
            "https://ftp.ncbi.nlm.nih.gov/pubmed/baseline/", re.compile(r"pubmed\d{2}n\d{4}\.xml\.gz"), 2, ".md5"
        ),
        "pubmed*.xml.gz",
        source="pubmed",
    ),
    ReadySet(
        "everyday-conversations",
        "conversations",
        "2,260 short chats about everyday things: a first tuning within minutes",
        "Apache 2.0",
        None,
        HubFiles(
            "HuggingFaceTB/everyday-conversations-llama3.1-2k", ("data/train_sft-*.parquet", "data/test_sft-*.parquet")
        ),
        "data/train_sft-*.parquet",
        "data/test_sft-*.parquet",
    ),
    ReadySet(
        "smol-smoltalk",
        "conversations",
        "a chat model that follows instructions; chosen for models below a billion parameters",
        "Apache 2.0",
        971_000_000,
        HubFiles("HuggingFaceTB/smol-smoltalk", ("data/train-*.parquet", "data/test-*.parquet")),
        "data/train-*.parquet",
        "data/test-*.parquet",
    ),
    ReadySet(
        "dpo-mix-7k",
        "preferences",
        "6,750 pairs chosen from three larger sets: a first alignment",
        "MIT",
        24_200_000,
        HubFiles(
            "argilla/dpo-mix-7k",
            ("data/train-*.parquet", "data/test-*.parquet"),
            "84adebaeda61308ff57f2a3d14404ee0b5d5bbef",
        ),
        "data/train-*.parquet",
        "data/test-*.parquet",
    ),
    ReadySet(
        "ultrafeedback-binarized",
        "preferences",
        "61,000 pairs, the usual set for DPO (Tunstall et al., 2023)",
        "MIT",
        230_000_000,
        HubFiles("HuggingFaceH4/ultrafeedback_binarized", ("data/train_prefs-*.parquet", "data/test_prefs-*.parquet")),
        "data/train_prefs-*.parquet",
        "data/test_prefs-*.parquet",
    ),
)
"""In the order in which they are shown."""


def look_up(name: str) -> ReadySet | None:
    """The ready set of that name, if there is one."""
    return next((each for each in READY_SETS if each.name == name), None)


def find_ready_set(name: str) -> ReadySet:
    """The ready set of that name.

    Raises:
        ConfigError: there is none; the message has the near names.
    """
    if (found := look_up(name)) is not None:
        return found
    names = [each.name for each in READY_SETS]
    near = difflib.get_close_matches(name, names, n=1)
    raise ConfigError(
        f"there is no ready set {name!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}")
    )
