"""`rapport pretrain` and `rapport sft`: make a small chat model from texts and conversations."""

import typer

from chat_app.commands.settings_options import options_of
from training.learning_settings import PretrainSettings, SftSettings

_NAMES = {
    "output_dir": "--out",
    "n_layer": "--layers",
    "n_head": "--heads",
    "n_embd": "--width",
    "compile_model": "--compile/--no-compile",
}


@options_of(PretrainSettings, argument="data_dir", names=_NAMES)
def pretrain(settings: PretrainSettings) -> None:
    """Pretrain a small GPT on a folder of texts: a new one with a tokenizer of its own, or --start from another.

    On several processes or GPUs: torchrun --nproc-per-node 2 --no-python rapport pretrain DATA --out FOLDER
    """
    from training.pretrain import pretrain as run

    run(settings, typer.echo)


@options_of(SftSettings, argument="data_dir", names=_NAMES)
def sft(settings: SftSettings) -> None:
    """Fine-tune a model on conversations, so that it answers and stops.

    On several processes or GPUs: torchrun --nproc-per-node 2 --no-python rapport sft DATA --base MODEL --out FOLDER
    """
    from training.sft import sft as run

    run(settings, typer.echo)
