import pytest

from training.generation import DecodingParameters, InvalidDecoding


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0),
        ("max_new_tokens", -5),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_p", float("nan")),
        ("top_k", -1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", float("nan")),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name_and_value(name: str, value: float) -> None:
    with pytest.raises(InvalidDecoding, match=rf"{name} is {value}; it must be"):
        DecodingParameters(**{name: value})  # type: ignore[arg-type]


def test_the_defaults_sample_the_plain_distribution() -> None:
    parameters = DecodingParameters()
    assert (parameters.temperature, parameters.top_p, parameters.top_k) == (1.0, 1.0, 0)
    assert not parameters.is_greedy


def test_temperature_zero_is_greedy() -> None:
    assert DecodingParameters(temperature=0).is_greedy
