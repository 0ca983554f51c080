"""Makes values fit for a JSON column: JSON has no NaN and no infinity, and PostgreSQL refuses them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def plain_json(value: Any) -> Any:
    """The same value with NaN and infinities as None, tuples as lists and paths as text, however deep."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain_json(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
