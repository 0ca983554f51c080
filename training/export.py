"""Writes a trained model as a folder: tokenizer, weights as bfloat16 safetensors, sampling defaults."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from training.chat_format import ChatFormat
from training.whole_files import whole

TEMPERATURE, TOP_P, MAX_NEW_TOKENS = 0.5, 0.9, 80


def export_model(model: Any, chat_format: ChatFormat, folder: Path) -> None:
    """Replace `folder` by the model, whole or not at all; UnwrittenError when the disk is full or read-only.

    Weights are stored in bfloat16: half the size, and sampling does not notice. Loading casts to float32.
    """
    stored = copy.deepcopy(model).to(dtype=torch.bfloat16, device="cpu")
    stored.generation_config = GenerationConfig(
        do_sample=True,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        max_new_tokens=MAX_NEW_TOKENS,
        bos_token_id=chat_format.start_token_id,
        eos_token_id=chat_format.end_token_id,
        pad_token_id=chat_format.pad_token_id,
    )
    with whole(folder, "The model") as fresh:
        stored.save_pretrained(fresh)
        chat_format.tokenizer.save_pretrained(fresh)
        for path in folder.glob("*.md"):  # a model card is written by people
            shutil.copy2(path, fresh / path.name)
