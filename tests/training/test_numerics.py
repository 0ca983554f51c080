"""The probe of precision and compiler tells what it chose and why."""

from pathlib import Path

import torch

from training.numerics import Numerics, kept_precision, probe_numerics


def test_the_probe_names_precision_compiler_and_device() -> None:
    numerics = probe_numerics(device="cpu", compile_model=False)
    assert numerics.device == "cpu"
    assert not numerics.is_compiled
    assert "bfloat16 products run" in numerics.reason
    assert numerics.reason.endswith("not compiled, on cpu")


def test_autocast_computes_products_in_the_chosen_precision() -> None:
    matrix = torch.ones(4, 4)
    with Numerics("cpu", is_bfloat16=True, is_compiled=False, reason="").autocast():
        assert (matrix @ matrix).dtype == torch.bfloat16
    with Numerics("cpu", is_bfloat16=False, is_compiled=False, reason="").autocast():
        assert (matrix @ matrix).dtype == torch.float32


def test_a_set_precision_is_not_probed() -> None:
    assert not probe_numerics(device="cpu", precision="float32", compile_model=False).is_bfloat16
    assert probe_numerics(device="cpu", precision="bfloat16", compile_model=False).is_bfloat16


def test_a_run_keeps_the_precision_it_began_with(tmp_path: Path) -> None:
    begun = Numerics("cpu", is_bfloat16=False, is_compiled=False, reason="probed")
    assert kept_precision(tmp_path / "run", begun) == begun
    probed_again = Numerics("cpu", is_bfloat16=True, is_compiled=False, reason="probed")
    assert not kept_precision(tmp_path / "run", probed_again).is_bfloat16
    assert kept_precision(tmp_path / "other", probed_again).is_bfloat16
