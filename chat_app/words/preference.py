"""Which of our languages somebody prefers: what they chose before, else what their browser asks for."""

from chat_app.words.table import Language

LANGUAGE_COOKIE = "rapport_language"


def preferred_language(cookie: str | None, accept_language: str | None) -> Language:
    """Choose a language from the cookie, else from an Accept-Language header, else English."""
    if cookie in ("en", "zh"):
        return "zh" if cookie == "zh" else "en"
    for tag in _tags_by_quality(accept_language or ""):
        if tag.startswith("zh"):
            return "zh"
        if tag.startswith("en"):
            return "en"
    return "en"


def _tags_by_quality(header: str) -> list[str]:
    """Split "zh-CN,zh;q=0.9,en;q=0.8" into tags, best liked first; a quality that is no number is 0."""
    weighted: list[tuple[float, str]] = []
    for part in header.split(","):
        tag, _, parameter = part.strip().partition(";")
        weighted.append((_quality(parameter), tag.strip().lower()))
    return [tag for quality, tag in sorted(weighted, key=lambda pair: -pair[0]) if quality > 0]


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
