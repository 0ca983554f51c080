"""One frozen backbone that plays several roles: a LoRA adapter for each, and a scalar head where a role gives numbers.

With every adapter off the backbone *is* the reference policy. PEFT's `set_adapter` takes the gradient away from every
other adapter, and switching between a forward and its backward falsifies gradients, so both belong inside one
`with roles.playing(role)`.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from training.errors import TrainingError
from training.loading import LoadedModel
from training.numerics import Numerics
from training.settings import LoraSettings

HEAD_FILE = "head.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"
BACKBONE_FILE = "backbone.json"
HEAD_DEVIATION = 0.005


class AdapterMismatch(TrainingError):
    """An adapter that was made for another backbone."""

    code = "adapter_mismatch"


class Roles:
    """A causal language model with adapters; use it as a context manager, which gives the model back as it was."""

    def __init__(self, anchor: LoadedModel, numerics: Numerics) -> None:
        """Take the anchor's model (it is changed in place until `release`) and move it to the device."""
        self.anchor = anchor
        self.numerics = numerics
        self.language_model: Any = anchor.model.to(numerics.device)
        self.language_model.eval()  # no dropout in any role, learning or not
        self.language_model.requires_grad_(False)
        self.fingerprint = fingerprint(anchor)
        self.heads = nn.ModuleDict()
        self._peft: Any = None
        self._layers: list[LoraLayer] = []
        self._has_plain_head = _has_plain_head(self.language_model, anchor.chat_format.end_token_id)

    def __enter__(self) -> Roles:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return torch.device(self.language_model.device)

    def add(self, role: str, lora: LoraSettings, *, seed: int, has_head: bool = False) -> None:
        """Give a new role an adapter that changes nothing yet and, if it gives numbers, a random head."""
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            fan_in_fan_out=_uses_conv1d(self.language_model),
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._attach(role, config)
            if has_head:
                self._attach_head(role)

    def load(self, role: str, folder: Path, *, has_head: bool = False) -> None:
        """Give a role the adapter (and head) that `save` wrote; raises AdapterMismatch for another backbone's."""
        self._check_backbone(folder)
        with torch.random.fork_rng(devices=[]):  # the initial values are replaced
            self._attach(role, LoraConfig.from_pretrained(str(folder)))
            if has_head:
                self._attach_head(role)
        state = {f"adapter.{name}": value for name, value in load_file(folder / ADAPTER_FILE).items()}
        if has_head:
            state |= {f"head.{name}": value for name, value in load_file(folder / HEAD_FILE).items()}
        self.load_state(role, state, source=str(folder))

    def save(self, role: str, folder: Path) -> None:
        """Write a role as a PEFT adapter folder, with its head beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        config = self._peft.peft_config[role]
        config.inference_mode = True
        config.base_model_name_or_path = None  # which backbone it belongs to is the registry's to say
        config.save_pretrained(str(folder))
        (folder / BACKBONE_FILE).write_text(json.dumps({"fingerprint": self.fingerprint}), encoding="utf-8")
        save_file(
            _with_prefix(self.state(role), "adapter."), folder / ADAPTER_FILE, metadata={"format": "pt"}
        )
        if role in self.heads:
            save_file(_with_prefix(self.state(role), "head."), folder / HEAD_FILE)

    def state(self, role: str) -> dict[str, Tensor]:
        """The learned tensors of a role, on the CPU, by name."""
        adapter = get_peft_model_state_dict(self._peft, adapter_name=role, save_embedding_layers=False)
        state = {f"adapter.{name}": value for name, value in adapter.items()}
        if role in self.heads:
            state |= {f"head.{name}": value for name, value in self.heads[role].state_dict().items()}
        return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}

    def load_state(self, role: str, state: Mapping[str, Tensor], *, source: str = "the state") -> None:
        """Overwrite a role with the tensors of `state`; raises AdapterMismatch where names or shapes differ."""
        own = self.state(role)
        differing = sorted(own.keys() ^ state.keys()) or sorted(
            name for name in own if own[name].shape != state[name].shape
        )
        if differing:
            raise AdapterMismatch(
                f"The adapter in {source} does not fit the model {self.anchor.path}: {differing[0]} differs. "
                "Copy the folder again, or train a new adapter."
            )
        set_peft_model_state_dict(self._peft, _with_prefix(state, "adapter."), adapter_name=role)
        if role in self.heads:
            self.heads[role].load_state_dict(_with_prefix(state, "head."))

    def parameters(self, role: str) -> list[nn.Parameter]:
        """What a role learns: its adapter's matrices, then its head."""
        adapter = [
            parameter
            for name, parameter in self._peft.named_parameters()
            if f".{role}." in name and "lora_" in name
        ]
        return [*adapter, *(self.heads[role].parameters() if role in self.heads else [])]

    @contextmanager
    def playing(self, role: str | None) -> Iterator[None]:
        """Run the backbone with a role's adapter, and gradients for it alone; None is the reference."""
        self._switch(role)
        try:
            yield
        finally:
            self._switch(None)

    @contextmanager
    def merged(self, role: str | None) -> Iterator[Any]:
        """Lend the language model with a role merged into its weights: faster for the many passes of decoding.

        The backbone's own weights are put back afterwards, so no rounding is left in them. None is the reference.
        """
        originals: list[tuple[Any, Tensor]] = []
        try:
            with torch.no_grad():
                for layer in self._layers if role is not None else ():
                    base = layer.get_base_layer()
                    originals.append((base, base.weight.data))
                    base.weight.data = base.weight.data + layer.get_delta_weight(role)
            yield self.language_model
        finally:
            for base, weight in originals:
                base.weight.data = weight

    def hidden_states(self, input_ids: Tensor) -> Tensor:
        """Last hidden states of right-padded ids: (rows, time) → (rows, time, width), in float32."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        with self.numerics.autocast():
            output = self.language_model.base_model(
                input_ids=input_ids, position_ids=positions, use_cache=False
            )
        return torch.as_tensor(output.last_hidden_state).float()

    def logits(self, input_ids: Tensor, kept: Tensor) -> Tensor:
        """Next-token logits at the positions that `kept` (rows, time) keeps: (kept positions, vocabulary).

        The head runs in float32: in bfloat16 the logits alone would cost two digits of the log-probabilities.
        """
        if self._has_plain_head:
            head = self.language_model.get_output_embeddings()
            return torch.as_tensor(head(self.hidden_states(input_ids)[kept]))
        return torch.as_tensor(
            self.language_model(
                input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False
            ).logits[kept]
        ).float()

    def scalars(self, role: str, input_ids: Tensor, kept: Tensor) -> Tensor:
        """A role's number at each position that `kept` (rows, time) keeps: (kept positions,)."""
        return torch.as_tensor(self.heads[role](self.hidden_states(input_ids)[kept])).squeeze(-1)

    def release(self) -> None:
        """Take every adapter out of the model again."""
        if self._peft is not None:
            self._peft.unload()
            self._peft, self._layers = None, []

    def _check_backbone(self, folder: Path) -> None:
        written = json.loads((folder / BACKBONE_FILE).read_text(encoding="utf-8"))["fingerprint"]
        if written != self.fingerprint:
            raise AdapterMismatch(
                f"The adapter in {folder} was trained on another model than {self.anchor.path}: tokenizer, shape "
                f"or embeddings differ ({written} is not {self.fingerprint}). Use it with its own model, or retrain."
            )

    def _attach(self, role: str, config: LoraConfig) -> None:
        if self._peft is None:
            with warnings.catch_warnings():  # PEFT 0.21 reads a name that transformers 5.23 has given up
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
                self._peft = get_peft_model(self.language_model, config, adapter_name=role)
        else:
            self._peft.add_adapter(role, config)
        self._layers = [module for module in self.language_model.modules() if isinstance(module, LoraLayer)]
        self._switch(None)

    def _attach_head(self, role: str) -> None:
        width = int(self.language_model.config.get_text_config().hidden_size)
        head = nn.Linear(width, 1, bias=False)
        # Nearly nothing: at the usual 1/√width scores start units apart, which few votes do not unlearn.
        nn.init.normal_(head.weight, std=HEAD_DEVIATION)
        self.heads[role] = head.to(self.device)

    def _switch(self, role: str | None) -> None:
        for layer in self._layers:
            layer.enable_adapters(role is not None)
            if role is not None:
                layer.set_adapter(role)


def fingerprint(anchor: LoadedModel) -> str:
    """A short name for a backbone: its tokenizer, its shape and the beginning of its embeddings."""
    config = anchor.model.config.get_text_config()
    embeddings = anchor.model.get_input_embeddings().weight
    shape = [config.model_type, config.hidden_size, config.num_hidden_layers, *embeddings.shape]
    vocabulary = sorted(anchor.chat_format.tokenizer.get_vocab().items(), key=lambda item: item[1])
    digest = hashlib.sha256(json.dumps([shape, vocabulary]).encode())
    digest.update(embeddings[:64].detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _with_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _uses_conv1d(model: nn.Module) -> bool:
    return any(isinstance(module, Conv1D) for module in model.modules())


@torch.no_grad()
def _has_plain_head(model: Any, token: int) -> bool:
    """Whether logits are the output embedding of the last hidden state and no more (some models cap or scale them)."""
    ids = torch.tensor([[token, token]], device=model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    hidden = model.base_model(**inputs).last_hidden_state
    logits = model.get_output_embeddings()(hidden)
    return torch.allclose(logits.float(), model(**inputs).logits.float(), atol=1e-4)
