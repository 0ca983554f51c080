"""Database URLs: which are taken, and what is said of the others."""

import pytest
from pydantic import ValidationError

from db.settings import DatabaseSettings


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("sqlite:////tmp/rapport.db", "sqlite"),
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgres://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg2://u@h/d", "postgresql+psycopg"),
    ],
)
def test_a_url_gets_the_driver_that_rapport_uses(given: str, driver: str) -> None:
    assert DatabaseSettings(url=given).parsed_url.drivername == driver


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mysql://u@h/d", "'mysql', which is not supported; use sqlite"),
        ("rapport.db", "is not a URL. Give one like sqlite"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_other_urls_are_refused_with_an_example(given: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DatabaseSettings(url=given)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        DatabaseSettings(url="sqlite:////tmp/rapport.db", timeout=3)  # type: ignore[call-arg]
