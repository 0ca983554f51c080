"""Durations as people read them."""

from chat_app.words import Words


def duration_text(seconds: float, words: Words) -> str:
    """Round a duration to what matters: seconds under two minutes, minutes under two hours, then hours."""
    if seconds < 120:
        return words.second.format(count=max(0, round(seconds)))
    if seconds < 7200:
        return words.minute.format(count=round(seconds / 60))
    return words.hour.format(count=round(seconds / 3600))
