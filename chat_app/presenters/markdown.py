"""Turns what a model wrote into HTML that is safe to put into a page."""

from markdown_it import MarkdownIt
from markupsafe import Markup

# No raw HTML, and no images: an image's address would be fetched from wherever a model writes.
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").disable("image")


def markdown_html(text: str) -> Markup:
    """Render Markdown; HTML in it stays text, images become links, `javascript:` links stay text."""
    return Markup(_MARKDOWN.render(text))
