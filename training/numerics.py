"""Finds out, by trying, which numbers and which compiler make training fast on this machine."""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from training.learning_settings import Precision
from training.ranks import Ranks


@dataclass(frozen=True, slots=True)
class Numerics:
    """How a training step is computed, and the sentence that says why."""

    device: str
    is_bfloat16: bool
    is_compiled: bool
    reason: str

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which forward passes run; weights and optimiser stay float32."""
        if not self.is_bfloat16:
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)

    @property
    def weights_dtype(self) -> torch.dtype:
        """The type of weights that are only read, in serving."""
        return torch.bfloat16 if self.is_bfloat16 else torch.float32


def probe_numerics(
    *, device: str | None = None, precision: Precision = "auto", compile_model: bool | None = None
) -> Numerics:
    """Choose device, precision and compilation; `compile_model` None means: where a C++ compiler is found."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    is_bfloat16, why = (
        _probe_bfloat16(device) if precision == "auto" else (precision == "bfloat16", f"{precision}, as set")
    )
    compiler = find_compiler(device)
    is_compiled = bool(compiler) if compile_model is None else compile_model
    compilation = f"compiled with {compiler}" if is_compiled else "not compiled"
    if not compiler and compile_model is None:
        compilation += " (no C++ compiler found; install g++ for more speed)"
    return Numerics(device, is_bfloat16, is_compiled, f"{why}, {compilation}, on {device}")


def kept_precision(folder: Path, numerics: Numerics, ranks: Ranks | None = None) -> Numerics:
    """The numerics in the precision that the run of this folder began with, and note it at the beginning.

    A probe of a busy machine may decide otherwise the next time; a resumed run must compute as before, and so must
    every rank.
    """
    note = folder / "precision.txt"
    if (ranks is None or ranks.is_first) and not note.exists():
        folder.mkdir(parents=True, exist_ok=True)
        note.write_text("bfloat16" if numerics.is_bfloat16 else "float32", encoding="utf-8")
    if ranks:
        ranks.wait()
    began_with_bfloat16 = note.read_text(encoding="utf-8").strip() == "bfloat16"
    if began_with_bfloat16 == numerics.is_bfloat16:
        return numerics
    reason = f"{'bfloat16' if began_with_bfloat16 else 'float32'}, as this run began"
    return replace(numerics, is_bfloat16=began_with_bfloat16, reason=reason)


def find_compiler(device: str) -> str:
    """The compiler that torch.compile would use, or an empty string."""
    if device == "cuda":
        return "triton" if torch.utils._triton.has_triton() else ""
    return next((name for name in ("g++", "clang++", "c++") if shutil.which(name)), "")


def _probe_bfloat16(device: str) -> tuple[bool, str]:
    """Time one matrix product in both precisions: many processors take bfloat16 and are slower with it."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(), "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    seconds = {dtype: _seconds_per_product(dtype) for dtype in (torch.float32, torch.bfloat16)}
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    chosen = ratio > 1.2
    return chosen, f"{'bfloat16' if chosen else 'float32'} (bfloat16 products run {ratio:.1f}× as fast)"


def _seconds_per_product(dtype: torch.dtype) -> float:
    left, right = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
    best = float("inf")
    for _ in range(8):  # the first products include the library's own preparations
        start = time.perf_counter()
        _ = left @ right
        best = min(best, time.perf_counter() - start)
    return best
