"""Fills the HTML templates of the pages; every value is escaped unless it is `Markup`.

Gradio's own templates are not used for what people and models write: `gr.HTML` fills `{{…}}` and then
evaluates the result as a JavaScript template literal, so that a message with `${…}` in it would run. Markup
made here is passed as the value of the default template, which Gradio inserts without looking into it.
"""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Fill templates/`template`.html. Raises jinja2's UndefinedError for a value the template lacks."""
    return _TEMPLATES.get_template(f"{template}.html").render(**values)
