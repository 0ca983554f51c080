"""Times a model folder in a fresh process: from reading it to the first token of an answer.

    python -m benchmarks.first_token DIR

Prints seconds, without the imports of the libraries; `seconds_to_first_token` starts it from another process.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import torch

from training.generation import DecodingParameters, sample_completions
from training.loading import load_language_model


def main() -> None:
    began = time.perf_counter()
    loaded = load_language_model(sys.argv[1])
    chat_format = loaded.chat_format
    with torch.inference_mode():
        sample_completions(
            loaded.model,
            [chat_format.prompt_ids([{"role": "user", "content": "Hello, how are you?"}])],
            parameters=DecodingParameters(max_new_tokens=1),
            seeds=[0],
            end_token_id=chat_format.end_token_id,
            pad_token_id=chat_format.pad_token_id,
        )
    print(time.perf_counter() - began)


def seconds_to_first_token(folder: Path) -> float:
    """Run this in a fresh process. Raises CalledProcessError where the model cannot be loaded."""
    command = [sys.executable, "-m", "benchmarks.first_token", str(folder)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()
