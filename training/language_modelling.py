"""The next-token loss, the optimiser step and the held-out loss that pretraining and fine-tuning share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.learning_settings import OptimizerKind
from training.numerics import Numerics
from training.pace import learning_rate


def next_token_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Mean of −log p(token | tokens before it) over `tokens` (batch, time + 1), in nats."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits  # (batch, time, vocabulary)
    return functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())


def make_optimizers(
    model: nn.Module, *, weight_decay: float, kind: OptimizerKind = "adamw"
) -> list[torch.optim.Optimizer]:
    """AdamW with decay on matrices only; with `muon` the blocks' matrices are Muon's (Jordan et al., 2024).

    Muon's steps are scaled to the size of AdamW's, so that one learning rate serves both (Liu et al., 2025).
    """
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = _matrices_of_blocks(model) if kind == "muon" else []
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in learning if id(parameter) not in chosen]
    groups = [
        {"params": [p for p in others if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=True)
    ]
    if matrices:
        optimizers.append(
            torch.optim.Muon(matrices, lr=0.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    return optimizers


def _matrices_of_blocks(model: nn.Module) -> list[nn.Parameter]:
    """Every learning matrix that is not an embedding or the (often tied) output layer."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    output = getattr(model, "get_output_embeddings", lambda: None)()
    embeddings |= {id(output.weight)} if output is not None else set()
    return [p for p in model.parameters() if p.requires_grad and p.dim() == 2 and id(p) not in embeddings]


def step_optimizers(
    optimizers: Sequence[torch.optim.Optimizer], model: nn.Module, *, peak: float, share_done: float
) -> None:
    """Clip the gradient to norm 1 and take one step at the learning rate of this share of the run."""
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(peak, share_done)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def heldout_losses(model: nn.Module, heldout: Mapping[str, Tensor], numerics: Numerics) -> dict[str, float]:
    """Next-token loss of each source's held-out rows (rows, time + 1), in nats per token."""
    was_training = model.training
    model.eval()
    losses = {}
    for source, rows in heldout.items():
        with numerics.autocast():
            losses[source] = float(next_token_loss(model, rows.to(numerics.device)))
    model.train(was_training)
    return losses


def parameter_count(model: nn.Module) -> int:
    """How many numbers the model learns; tied matrices count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def loss_line(losses: Mapping[str, float]) -> str:
    """Held-out losses as one line of a log."""
    values = [f"{source.split('/')[-1].split('.jsonl')[0]} {loss:.3f}" for source, loss in losses.items()]
    return "held-out loss: " + (", ".join(values) or "no document is held out, the corpus is too small")
