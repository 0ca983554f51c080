"""Loads a language model with its chat format, and says what is wrong with a broken folder.

Only safetensors weights are read and no code of the folder is run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, PreTrainedModel

from training.chat_format import ChatFormat, ChatFormatError
from training.errors import TrainingError

_INDEX = "model.safetensors.index.json"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")


class ModelFolderError(TrainingError):
    """A model that cannot be loaded; the message names the folder, what is wrong and the remedy."""

    code = "model_folder"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model in evaluation mode, its chat format, and where it came from."""

    model: PreTrainedModel
    chat_format: ChatFormat
    path: str

    @property
    def context_length(self) -> int:
        """The most tokens, prompt and completion together, that the model can attend to."""
        return int(self.model.config.get_text_config().max_position_embeddings)


def load_language_model(
    path_or_name: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> LoadedModel:
    """Load model and tokenizer; raises ModelFolderError with the remedy when the folder is broken.

    Weights are cast to `dtype`. Where the chat format added a pad token, the embeddings grow by a row.
    """
    path = str(path_or_name)
    if Path(path).is_dir():
        _check_folder(Path(path))
    elif path.startswith((".", "/", "~")):
        raise ModelFolderError(f"There is no model folder {path}. Check the path, or give a hub name.")
    chat_format = _load_chat_format(path)
    model = _load_weights(path, dtype).to(device)
    _check_context(path, model)
    _fit_vocabulary(path, model, chat_format)
    return LoadedModel(model.eval(), chat_format, path)


def _check_folder(folder: Path) -> None:
    """Find what is missing or cut off before the library fails on it with a long trace."""
    if not (folder / "config.json").is_file():
        raise ModelFolderError(
            f"{folder} has no config.json, so it is not a model folder. "
            "Give the folder that `rapport sft` or `save_pretrained` wrote."
        )
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(
            f"{folder}/config.json is not JSON ({error}). Copy the folder again."
        ) from error
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelFolderError(
            f"{folder} has no tokenizer (tokenizer.json). Save the model's tokenizer there."
        )
    for weights in _weight_files(folder):
        _check_weights(weights)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _INDEX).is_file():
        return [folder / name for name in _shards(folder / _INDEX)]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    pickled = ", ".join(path.name for path in sorted(folder.iterdir()) if path.suffix in _PICKLED)
    hint = (
        f"Its {pickled} may run code when opened and is not read; convert it to safetensors."
        if pickled
        else ""
    )
    raise ModelFolderError(
        f"{folder} has no model.safetensors. {hint or 'Copy the weights there, or give the complete folder.'}"
    )


def _shards(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError(
            f"{index} does not say which files hold the weights ({error!r}). Copy the folder again."
        ) from error


def _check_weights(path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as weights:
            if not list(weights.keys()):
                raise ModelFolderError(f"{path} holds no weights. Copy the file again.")
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(
            f"{path} is missing or cut off ({error}). Copy the file again, or restore it from a backup."
        ) from error


def _load_chat_format(path: str) -> ChatFormat:
    try:
        return ChatFormat.from_folder(path)
    except ChatFormatError as error:
        raise ModelFolderError(f"The tokenizer of {path} cannot be used: {error}") from error
    except Exception as error:  # the library raises many kinds for a broken tokenizer or an unknown name
        raise ModelFolderError(
            f"The tokenizer of {path} cannot be read ({_first_line(error)}). "
            "Copy the folder again; for a hub name, check its spelling and the network."
        ) from error


def _load_weights(path: str, dtype: torch.dtype) -> PreTrainedModel:
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # unknown architecture, wrong shapes, no such name: each its own kind
        raise ModelFolderError(
            f"The model {path} cannot be loaded ({_first_line(error)}). "
            "Use a complete folder of a causal language model with safetensors weights."
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelFolderError(
            f"The weights of {path} lack {len(missing)} tensors, {missing[0]} first. "
            "config.json and model.safetensors belong to different models; copy the folder again."
        )
    loaded: PreTrainedModel = model
    return loaded


def _check_context(path: str, model: PreTrainedModel) -> None:
    if not getattr(model.config.get_text_config(), "max_position_embeddings", None):
        raise ModelFolderError(
            f"The config.json of {path} does not say how many tokens the model can read. "
            'Add "max_position_embeddings", the length it was trained with.'
        )


def _fit_vocabulary(path: str, model: PreTrainedModel, chat_format: ChatFormat) -> None:
    """Grow the embeddings for an added pad token; refuse a tokenizer that belongs to another model."""
    rows = model.get_input_embeddings().weight.shape[0]
    tokens = chat_format.vocab_size
    if tokens <= rows <= 2 * tokens:  # some models have rows to spare, but never half of them
        return
    if tokens < rows or chat_format.pad_token_id != rows:
        raise ModelFolderError(
            f"The tokenizer of {path} has {tokens:,} tokens and the model {rows:,} "
            "embeddings: they do not belong together. Put the model's own tokenizer into the folder."
        )
    model.resize_token_embeddings(tokens, mean_resizing=False)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
