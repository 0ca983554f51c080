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
    """Pretrain a small GPT with a tokenizer of its own on a folder of texts.

    On several processes or GPUs: torchrun --nproc-per-node 2 --no-python rapport pretrain DATA --out FOLDER
    """
    from training.pretrain import pretrain as run

    result = run(settings, typer.echo)
    typer.echo(
        f"The model is in {result.model_dir}: {result.parameters:,} parameters, {result.tokens:,} tokens."
    )


@options_of(SftSettings, argument="data_dir", names=_NAMES)
def sft(settings: SftSettings) -> None:
    """Fine-tune a model on conversations, so that it answers and stops.

    On several processes or GPUs: torchrun --nproc-per-node 2 --no-python rapport sft DATA --base MODEL --out FOLDER
    """
    from training.sft import sft as run

    result = run(settings, typer.echo)
    typer.echo(
        f"The model is in {result.model_dir}. Serve it: RAPPORT_MODEL={result.model_dir} rapport serve"
    )
