"""Vocabularies as an operator gives them: files of a `tokenizer.json`, and one that says whose."""

import json
from pathlib import Path

# At most three letters, with a blank before them, are a token: as `own_tokens` of the fakes counts.
THREE_LETTERS = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": r"\s?\S{1,3}|\s"},
        "behavior": "Isolated",
        "invert": False,
    },
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
}


def given_in(folder: Path, *patterns: str) -> Path:
    """The file that says: models of these patterns have words of three letters at most."""
    (folder / "three.json").write_text(json.dumps(THREE_LETTERS))
    file = folder / "vocabularies.json"
    file.write_text(json.dumps(dict.fromkeys(patterns, "three.json")))
    return file
