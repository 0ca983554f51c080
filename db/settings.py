"""Where the database is: the branch of the settings tree that `db` gets."""

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

EXAMPLES = "sqlite:////absolute/path/rapport.db or postgresql+psycopg://user:password@host/rapport"


class DatabaseSettings(BaseModel):
    """The database's URL, and how long a writer waits for another one before it gives up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    busy_timeout_seconds: float = Field(default=30.0, gt=0)

    @field_validator("url")
    @classmethod
    def _names_a_supported_database(cls, url: str) -> str:
        parse_url(url)
        return url

    @property
    def parsed_url(self) -> URL:
        """The URL with the driver that Rapport uses."""
        return parse_url(self.url)


def parse_url(url: str) -> URL:
    """Read a database URL; raises ValueError, which says what a good one looks like."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError(f"The database URL is not a URL. Give one like {EXAMPLES}.") from None
    scheme = parsed.drivername.split("+")[0]
    if scheme in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if scheme != "sqlite":
        raise ValueError(f"The database URL begins with {scheme!r}, which is not supported; use {EXAMPLES}.")
    if parsed.database in (None, "", ":memory:"):
        raise ValueError(
            f"The database URL {url!r} names no file; app and worker share one, so give a path: {EXAMPLES}."
        )
    return parsed.set(drivername="sqlite")
