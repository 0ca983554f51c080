"""The probe of precision and compiler tells what it chose and why."""

import torch

from training.numerics import Numerics, probe_numerics


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
