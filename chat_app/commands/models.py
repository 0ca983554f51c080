"""`rapport pretrain` and `rapport sft`: make a small chat model from texts and conversations."""

from pathlib import Path
from typing import Annotated

import typer

Minutes = Annotated[float | None, typer.Option(help="Length of the run; or give --steps.")]
Steps = Annotated[int | None, typer.Option(help="Length of the run; or give --minutes.")]
Out = Annotated[
    Path, typer.Option("--out", help="Folder of the run; its model/ is the result. A run resumes.")
]
Compile = Annotated[
    bool | None, typer.Option("--compile/--no-compile", help="Compile the model; by itself where it helps.")
]


def pretrain(
    data: Annotated[Path, typer.Argument(help="Folder of texts.")],
    out: Out,
    minutes: Minutes = None,
    steps: Steps = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Which sources, how often and under which licence.")
    ] = None,
    seed: int = 0,
    vocab_size: int = 6144,
    context_length: int = 512,
    layers: int = 6,
    heads: int = 6,
    width: int = 288,
    learning_rate: float = 1.5e-3,
    compile_model: Compile = None,
) -> None:
    """Pretrain a small GPT with a tokenizer of its own on a folder of texts."""
    from training.pretrain import PretrainSettings
    from training.pretrain import pretrain as run

    settings = PretrainSettings(
        data_dir=data,
        output_dir=out,
        recipe=recipe,
        minutes=_default_length(minutes, steps),
        steps=steps,
        seed=seed,
        vocab_size=vocab_size,
        context_length=context_length,
        n_layer=layers,
        n_head=heads,
        n_embd=width,
        learning_rate=learning_rate,
        compile_model=compile_model,
    )
    result = run(settings, typer.echo)
    typer.echo(
        f"The model is in {result.model_dir}: {result.parameters:,} parameters, {result.tokens:,} tokens."
    )


def sft(
    out: Out,
    base: Annotated[str, typer.Option(help="Model folder or hub name to start from.")],
    data: Annotated[Path | None, typer.Argument(help="Folder of conversations.")] = None,
    demonstrations: Annotated[Path | None, typer.Option(help="A file of demonstrations beside them.")] = None,
    minutes: Minutes = None,
    steps: Steps = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Which sources, how often and under which licence.")
    ] = None,
    seed: int = 0,
    learning_rate: float = 5e-4,
) -> None:
    """Fine-tune a model on conversations, so that it answers and stops."""
    from training.sft import SftSettings
    from training.sft import sft as run

    settings = SftSettings(
        base=base,
        output_dir=out,
        data_dir=data,
        recipe=recipe,
        demonstrations=demonstrations,
        minutes=_default_length(minutes, steps),
        steps=steps,
        seed=seed,
        learning_rate=learning_rate,
    )
    result = run(settings, typer.echo)
    typer.echo(
        f"The model is in {result.model_dir}. Serve it: RAPPORT_MODEL={result.model_dir} rapport serve"
    )


def _default_length(minutes: float | None, steps: int | None) -> float | None:
    return 30.0 if minutes is None and steps is None else minutes
