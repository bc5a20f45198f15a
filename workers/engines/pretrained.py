"""Reading a `transformers` checkpoint from a folder, with everything refused that could run code or be made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.errors import ModelUnavailable

TOKENIZER_FILES = (
    "tokenizer.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
)


def read_model(auto_class: str, folder: Path, *, dtype: str, device: str, unused: tuple[str, ...] = ()) -> Any:
    """Load the model in `folder` for inference, through the `transformers` class named `auto_class`.

    `unused` names the beginnings of weights that the engine never computes with, so they may be absent.

    Raises:
        ModelUnavailable: no safetensors there (pickled weights are refused), weights that the architecture needs are
        absent (`transformers` would draw them at random), or the folder is no checkpoint it can read.
    """
    if not folder.is_dir():
        raise ModelUnavailable(f"{folder} is no folder with a model; correct the registry")
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailable(f"{folder} holds no safetensors; other forms of weights can run code and are refused")
    import torch
    import transformers

    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, loading = getattr(transformers, auto_class).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
    except Exception as fault:  # a broken checkpoint shows as almost any error of transformers, safetensors or torch
        raise ModelUnavailable(f"{folder} cannot be read as a model: {_first_line(fault)}") from fault
    absent = sorted(name for name in loading["missing_keys"] if not name.startswith(unused))
    if absent:
        raise ModelUnavailable(f"{folder} lacks {len(absent)} of the model's weights, such as {absent[0]}")
    return model.to(device).eval()


def read_tokenizer(folder: Path) -> Any:
    """Load the tokenizer in `folder`, which must be a fast one.

    Raises:
        ModelUnavailable: there is none that can be read.
    """
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):  # for some, an empty one would be made up
        raise ModelUnavailable(f"{folder} holds no tokenizer: none of {', '.join(TOKENIZER_FILES)}")
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as fault:  # as above
        raise ModelUnavailable(f"{folder} has no tokenizer that can be read: {_first_line(fault)}") from fault
    if not tokenizer.is_fast:
        raise ModelUnavailable(f"{folder} has no fast tokenizer (tokenizer.json); convert it first")
    return tokenizer


def _first_line(fault: Exception) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0]
