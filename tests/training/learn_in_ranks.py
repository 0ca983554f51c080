"""Run by torchrun: pretrains or fine-tunes by the settings in a JSON file; only the first rank may write."""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import torch

from training.learning_settings import PretrainSettings, SftSettings
from training.pretrain import pretrain
from training.sft import sft


def main(stage: str, path: Path) -> None:
    torch.set_num_threads(1)
    if os.environ["RANK"] != "0":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # whoever writes a byte to a file fails
    values = json.loads(path.read_text(encoding="utf-8"))
    if stage == "pretrain":
        pretrain(PretrainSettings(**values))
    else:
        sft(SftSettings(**values))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
