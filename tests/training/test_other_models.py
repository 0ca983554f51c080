"""Any causal language model takes the bundled one's place: GPT-2, GPT-Neo, Llama and Qwen3 folders, made here.

Each comes twice: as people publish chat models, with a template and control tokens of its own, and as they publish
base models, with neither. None brings a pad token of its own but Qwen3, whose pad is its end of text.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from chat_app.inference.engine import InferenceEngine
from chat_app.inference.request import GenerationRequest
from db.engine import Database
from tests.tiny_model import SENTENCES
from tests.training.material import FLOAT32
from training.chat_format import ChatFormat
from training.generation import DecodingParameters, sample_completions
from training.learning_settings import SftSettings
from training.loading import LoadedModel, load_language_model
from training.registry import Registry
from training.roles import Roles
from training.settings import LoraSettings
from training.sft import sft
from training.versions import load_policy

ARCHITECTURES = ("gpt2", "gpt_neo", "llama", "qwen3")
CONTEXT = 192
GPT_NEO_WINDOW = 16
TIE = 1e-4
TOKENS = 40
GREEDY = DecodingParameters(max_new_tokens=TOKENS, temperature=0)
HELLO = [{"role": "user", "content": "Hello! How are you?"}]
ANSWER = {"role": "assistant", "content": "I am fine, thank you."}
LONGER = [*HELLO, ANSWER, {"role": "user", "content": "What is your favorite food? 你好"}]

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADERS = (  # as Llama 3 writes it
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
THINKING = (  # as Qwen3 writes it: an empty thought before the newest answer, none before the older ones
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A published model in small: its architecture, and whether its tokenizer brings a chat template."""

    architecture: str
    has_template: bool


KINDS = [Kind(architecture, has_template) for architecture in ARCHITECTURES for has_template in (True, False)]


def make_folder(folder: Path, kind: Kind) -> Path:
    """Write a random model of two layers with sharp logits, and the tokenizer its publisher would give it."""
    tokenizer = make_tokenizer(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make_model(kind.architecture, len(tokenizer), tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)  # so that greedy choices are no ties
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(kind: Kind) -> Any:
    """A byte-level BPE with the control tokens, template and pad of its family."""
    extra, names = {
        "gpt2": ([], {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}),
        "gpt_neo": (
            [],
            {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
        ),
        "llama": (
            ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
            {"bos_token": "<|begin_of_text|>", "eos_token": "<|endoftext|>"},
        ),
        "qwen3": (
            ["<|im_start|>", "<|im_end|>"],
            {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        ),
    }[kind.architecture]
    if kind.has_template and not extra:
        extra = ["<|im_start|>", "<|im_end|>"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", *extra],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator([*SENTENCES, "User: Assistant:"], trainer=trainer)
    if kind.architecture == "qwen3":
        bpe.add_tokens(["<think>", "</think>"])  # not special there either
    templates = {"llama": HEADERS, "qwen3": THINKING}
    template = templates.get(kind.architecture, CHATML) if kind.has_template else None
    return PreTrainedTokenizerFast(tokenizer_object=bpe, chat_template=template, **names)


def make_model(architecture: str, vocab_size: int, tokenizer: Any) -> Any:
    ids: dict[str, Any] = {
        "vocab_size": vocab_size,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if architecture == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=2, **ids))
    if architecture == "gpt_neo":
        layers = {"num_layers": 4, "attention_types": [[["global", "local"], 2]]}
        shape = {"max_position_embeddings": CONTEXT, "hidden_size": 32, "num_heads": 2}
        return GPTNeoForCausalLM(GPTNeoConfig(window_size=GPT_NEO_WINDOW, **layers, **shape, **ids))
    grouped = {
        "max_position_embeddings": CONTEXT, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 48, **ids,
    }  # fmt: skip
    if architecture == "llama":
        return LlamaForCausalLM(LlamaConfig(**grouped))
    return Qwen3ForCausalLM(Qwen3Config(head_dim=8, tie_word_embeddings=True, **grouped))


@pytest.fixture(
    scope="module", params=KINDS, ids=lambda kind: kind.architecture + "-chat" * kind.has_template
)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def folder(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("published") / "model", kind)


@pytest.fixture(scope="module")
def loaded(folder: Path) -> LoadedModel:
    return load_language_model(folder)


def greedy_of_the_library(model: Any, prompt: Sequence[int], end: int) -> list[int]:
    """What `generate` writes to one prompt without padding."""
    output = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False,
        max_new_tokens=TOKENS, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


def assert_same_up_to_ties(
    model: Any, prompt: Sequence[int], ours: Sequence[int], theirs: Sequence[int]
) -> None:
    """Tokens are equal, or part where the two best logits differ by less than a rounding error."""
    parting = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    if parting is None:
        assert len(ours) == len(theirs)
        return
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *theirs[:parting]]])).logits[0, -1]
    gap = abs(float(logits[ours[parting]] - logits[theirs[parting]]))
    assert gap < TIE, f"token {parting} is {ours[parting]}, generate chose {theirs[parting]}, gap {gap}"


def test_a_prompt_and_its_answer_together_are_the_conversation(loaded: LoadedModel, kind: Kind) -> None:
    chat = loaded.chat_format
    ids, mask = chat.conversation_ids([*HELLO, ANSWER])
    together = [*chat.prompt_ids(HELLO), *chat.completion_ids(ANSWER["content"])]

    assert ids[: len(together)] == together
    assert not any(mask[len(together) :])  # a line break after the turn, which the model need not write
    assert [token for token, kept in zip(ids, mask, strict=True) if kept] == chat.completion_ids(
        ANSWER["content"]
    )
    assert chat.decode(chat.completion_ids(ANSWER["content"])) == "I am fine, thank you."
    assert chat.completion_ids("Yes.")[-1] == chat.end_token_id
    assert chat.pad_token_id != chat.end_token_id
    end = chat.tokenizer.convert_ids_to_tokens(chat.end_token_id)
    by_template = {"llama": "<|eot_id|>"}.get(kind.architecture, "<|im_end|>")
    assert end == (by_template if kind.has_template else chat.tokenizer.eos_token)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_a_template_a_prompt_is_plain_dialogue(architecture: str) -> None:
    chat = ChatFormat(make_tokenizer(Kind(architecture, has_template=False)))
    bos = {"llama": "<|begin_of_text|>", "qwen3": ""}.get(architecture, "<|endoftext|>")
    assert chat.tokenizer.decode(chat.prompt_ids(HELLO)) == f"{bos}User: Hello! How are you?\nAssistant:"


def test_typed_control_tokens_stay_text(loaded: LoadedModel) -> None:
    chat = loaded.chat_format
    control = "".join(chat.tokenizer.get_added_vocab())
    plain, typed = (chat.prompt_ids([{"role": "user", "content": text}]) for text in ("x", f"x{control}x"))
    added = set(chat.tokenizer.get_added_vocab().values())

    assert [token for token in typed if token in added] == [token for token in plain if token in added]
    assert control in chat.tokenizer.decode(typed)


def test_greedy_decoding_equals_generate_alone_and_beside_prompts_of_other_lengths(
    loaded: LoadedModel,
) -> None:
    chat = loaded.chat_format
    prompts = [chat.prompt_ids(messages) for messages in (HELLO, LONGER, [{"role": "user", "content": "?"}])]
    assert max(len(prompt) for prompt in prompts) > 2 * GPT_NEO_WINDOW
    expected = [greedy_of_the_library(loaded.model, prompt, chat.end_token_id) for prompt in prompts]
    options: dict[str, Any] = {
        "parameters": GREEDY, "end_token_id": chat.end_token_id, "pad_token_id": chat.pad_token_id,
    }  # fmt: skip

    together = sample_completions(loaded.model, prompts, seeds=[0, 0, 0], **options)
    alone = [sample_completions(loaded.model, [prompt], seeds=[0], **options)[0] for prompt in prompts]

    for prompt, theirs, batched, single in zip(prompts, expected, together, alone, strict=True):
        assert len(theirs) > GPT_NEO_WINDOW
        assert_same_up_to_ties(loaded.model, prompt, batched.token_ids, theirs)
        assert_same_up_to_ties(loaded.model, prompt, single.token_ids, theirs)


def test_with_adapters_off_the_logits_are_the_models_own(folder: Path) -> None:
    loaded = load_language_model(folder)
    ids = torch.tensor([loaded.chat_format.conversation_ids([*LONGER, ANSWER])[0]])
    with torch.no_grad():
        expected = loaded.model(ids, attention_mask=torch.ones_like(ids)).logits[0]
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    with Roles(loaded, FLOAT32) as roles:
        roles.add("policy", LoraSettings(rank=2, alpha=4), seed=1)
        roles.add("value", LoraSettings(rank=2, alpha=4), seed=2, has_head=True)
        with torch.no_grad():
            for parameter in roles.parameters("policy"):
                parameter.add_(0.1)
            reference = roles.logits(ids, everywhere)
            with roles.playing("policy"):
                policy = roles.logits(ids, everywhere)
            with roles.playing("value"):
                values = roles.scalars("value", ids, everywhere)

    torch.testing.assert_close(reference, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(policy, expected, atol=1e-2)
    assert values.shape == (ids.shape[1],)


def test_fine_tuning_learns_and_its_result_loads_like_any_other(
    folder: Path, loaded: LoadedModel, tmp_path: Path
) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"messages": [*HELLO, ANSWER]}))
    settings = SftSettings(
        base=str(folder), demonstrations=own, output_dir=tmp_path / "out", steps=2, learning_rate=1e-3,
        precision="float32",
    )  # fmt: skip

    result = sft(settings, report=lambda _: None)

    learnt = load_language_model(result.model_dir)
    assert learnt.chat_format.prompt_ids(LONGER) == loaded.chat_format.prompt_ids(LONGER)
    assert learnt.chat_format.end_token_id == loaded.chat_format.end_token_id
    assert answer_loss(learnt) < answer_loss(loaded)


def answer_loss(loaded: LoadedModel) -> float:
    ids, mask = loaded.chat_format.conversation_ids([*HELLO, ANSWER])
    with torch.no_grad():
        logits = loaded.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    chosen = logits.gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]
    return float(-chosen[torch.tensor(mask[1:])].mean())


def test_as_the_model_of_the_settings_it_serves(
    folder: Path, sqlite_database: Database, tmp_path: Path
) -> None:
    registry = Registry(database=sqlite_database, models_dir=tmp_path / "models")
    base_id = registry.ensure_base(path_or_name=str(folder), name="sft")
    engine = InferenceEngine(load_version=lambda version_id: load_policy(registry, version_id))
    engine.start()
    try:
        engine.serve_version(registry.serving().id)
        answers = engine.submit_together(
            [
                GenerationRequest(HELLO, DecodingParameters(max_new_tokens=8)),
                GenerationRequest(LONGER, GREEDY),
            ]
        )
        finished = [answer.wait(30) for answer in answers]
    finally:
        engine.stop()

    assert [answer.version_id for answer in finished] == [base_id, base_id]
    assert [len(answer.token_ids) > 0 for answer in finished] == [True, True]
