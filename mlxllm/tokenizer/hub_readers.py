"""The files of somebody else's tokenizer, so that every reader finds the same ids in them.

transformers 5 does not take all files for what they say. Where the class is called LlamaTokenizer it makes a tokenizer of
its own from the vocabulary of a tokenizer.json, which puts no space before a text that begins with one; Llama 2's file
does, as SentencePiece and llama.cpp. A tokenizer.model alone it reads in other ways from one architecture to the next,
with Mistral's without any space before a text. A tokenizer.json of the class PreTrainedTokenizerFast is left as it is.
"""

import json
from collections.abc import Mapping

from mlxllm.tokenizer.hub_files import CONFIG_FILE, SENTENCEPIECE_MODEL, TOKENIZER_JSON, parse_object
from mlxllm.tokenizer.hub_sentencepiece import as_tokenizer_json, read_sentencepiece
from mlxllm.tokenizer.hub_spelling import has_byte_level

_MAKES_ANEW = ("LlamaTokenizer", "LlamaTokenizerFast")
_TAKES = "PreTrainedTokenizerFast"


def files_for_readers(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files to put beside a model's weights: the original ones, but for what would be read otherwise.

    Args:
        files: of a tokenizer that can be opened.
    """
    config = parse_object(files[CONFIG_FILE], CONFIG_FILE) if CONFIG_FILE in files else {}
    changed = {}
    if TOKENIZER_JSON in files:
        content = parse_object(files[TOKENIZER_JSON], TOKENIZER_JSON)
        if (
            config.get("tokenizer_class") not in _MAKES_ANEW
            or content.get("normalizer") is None
            or has_byte_level(content.get("pre_tokenizer"))
        ):
            return dict(files)
    else:
        model = read_sentencepiece(files[SENTENCEPIECE_MODEL], SENTENCEPIECE_MODEL)
        changed[TOKENIZER_JSON] = _json(as_tokenizer_json(model, config, SENTENCEPIECE_MODEL))
    changed[CONFIG_FILE] = _json(config | {"tokenizer_class": _TAKES})
    return {**files, **changed}


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
