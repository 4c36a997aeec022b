"""Every real file of text, web, commoncrawl, code, arxiv and pubmed becomes part of one dataset, or is refused.

The numbers were counted by other readers: `wc -l`, pyarrow's num_rows, warcio (responses of HTML), `grep -c
'<PubmedArticle>'` and one article to a .nxml, one e-print to an archive. What cleaning keeps is the tests' of cleaning.
"""

from pathlib import Path

import pytest

from mlxllm.data.build import build_dataset
from mlxllm.data.clean.recipes import recipe
from mlxllm.data.label import data_label
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources import open_source, recipe_of
from mlxllm.data.weights import Weight
from mlxllm.errors import DataError
from mlxllm.tokenizer import train_tokenizer

READ = {
    "text:text/botchan.txt": 1,
    "text:text/the-verdict.txt": 1,
    "text:text/tinyshakespeare.txt": 1,
    "text:text/tinystories_sample.txt": 5,
    "text:text/wiki_demo.txt": 1,
    "text:web/c4_demo.jsonl": 300,
    "text:web/cc_en_head-0091.jsonl.gz": 10,
    "refinedweb:web/refinedweb_columns.parquet": 10,
    "commoncrawl:commoncrawl/whirlwind.warc.gz": 1,
    "commoncrawl:commoncrawl/whirlwind.warc.wet.gz": 1,
    "commoncrawl:commoncrawl/dolma-sample-0000.warc.gz": 22,
    "thestack:code/stack_v1_columns.parquet": 16,
    "arxiv:arxiv/arxiv-metadata-oai-snapshot.json": 200,
    "arxiv:arxiv/1911.02782.gz": 1,
    "text:arxiv/arxiv_text.jsonl": 20,
    "pubmed:pubmed/pubmed1.xml": 2,
    "pubmed:pubmed/pubmed2.xml": 2,
    "pubmed:pubmed/pubmed5.xml": 1,
    "pubmed:pubmed/pubmed6.xml": 1,
    "pubmed:pubmed/pmc": 4,
}
"""Records of each source, by its specification."""
REFUSED = {
    "commoncrawl:commoncrawl/whirlwind.warc.wat.gz": "WAT file.*take the .warc.gz or .warc.wet.gz",
    "commoncrawl:commoncrawl/CC-MAIN-2024-22.warc.paths.gz": "list of files",
}
"""What cannot be read, and a part of the sentence that says so."""
FIVE = (
    "commoncrawl:commoncrawl/dolma-sample-0000.warc.gz",
    "refinedweb:web/refinedweb_columns.parquet",
    "thestack:code/stack_v1_columns.parquet",
    "arxiv:arxiv/arxiv-metadata-oai-snapshot.json",
    "pubmed:pubmed/pmc",
)
BYTE = train_tokenizer("byte", [])


def in_folder(spec: str, folder: Path) -> str:
    kind, _, path = spec.partition(":")
    return f"{kind}:{folder / path}"


@pytest.mark.data
def test_all_of_it_builds(tmp_path: Path, test_data: Path) -> None:
    sources = [open_source(in_folder(spec, test_data)) for spec in READ]
    manifest = build_dataset(
        tmp_path / "all",
        [(source, None) for source in sources],
        BYTE,
        recipes=[recipe(recipe_of(source)) for source in sources],
        val_split=0.05,
    )
    label = data_label(manifest)
    found = dict(zip(READ, label["sources"].values(), strict=True))
    assert {spec: entry["documents_read"] for spec, entry in found.items()} == READ
    for spec, entry in found.items():
        assert entry["documents_read"] == entry["documents_kept"] + sum(entry["dropped"].values()), spec
        assert set(entry["examples"]) == set(entry["dropped"]) | set(entry["mended"]), spec
    kept = {spec: entry["documents_kept"] for spec, entry in found.items()}
    assert kept["commoncrawl:commoncrawl/whirlwind.warc.gz"] == 0, "the page is in Aragonese"
    assert kept["commoncrawl:commoncrawl/dolma-sample-0000.warc.gz"] >= 15
    assert kept["thestack:code/stack_v1_columns.parquet"] >= 14
    assert kept["arxiv:arxiv/1911.02782.gz"] == 1
    assert kept["pubmed:pubmed/pmc"] == 4
    TokenDataset.open(tmp_path / "all", verify=True)


@pytest.mark.data
@pytest.mark.parametrize("spec", REFUSED)
def test_what_holds_no_text_is_refused(tmp_path: Path, test_data: Path, spec: str) -> None:
    with pytest.raises(DataError, match=REFUSED[spec]):
        build_dataset(tmp_path / "no", [(open_source(in_folder(spec, test_data)), None)], BYTE)


@pytest.mark.data
def test_five_sources_by_their_shares(tmp_path: Path, test_data: Path) -> None:
    shares = (0.4, 0.25, 0.15, 0.1, 0.1)
    sources = [open_source(in_folder(spec, test_data)) for spec in FIVE]
    weighted = [(source, Weight(share)) for source, share in zip(sources, shares, strict=True)]
    recipes = [recipe(recipe_of(source)) for source in sources]
    manifest = build_dataset(tmp_path / "five", weighted, BYTE, recipes=recipes, val_split=0.3)
    for entry, share in zip(data_label(manifest)["sources"].values(), shares, strict=True):
        assert entry["train_share"] == pytest.approx(share, abs=0.001)
        assert entry["epochs"] <= 4.000001
        assert entry["val_tokens"], "each is judged by itself"
