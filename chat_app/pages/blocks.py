"""Blocks of our own markup, and the script that turns clicks in them into Gradio events with data."""

from typing import Any

import gradio as gr

_SCRIPT = """
const actions = [%s];
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  if (!button || button.disabled || !actions.includes(button.dataset.action)) return;
  const data = { ...button.dataset };
  if (data.action === "rename") {
    data.title = window.prompt(data.question, data.title);
    if (!data.title) return;
  } else if (data.question && !window.confirm(data.question)) return;
  if (data.action === "vote") {
    data.seconds = window.rapportSecondsShown();
    const votes = element.querySelectorAll("[data-action=vote]");
    votes.forEach((vote) => { vote.disabled = true; });
    // Without an answer (the connection was lost) the same key may be sent again: it stays one vote.
    setTimeout(() => votes.forEach((vote) => { vote.disabled = false; }), 8000);
  }
  trigger(data.action, data);
});
"""


def html_block(html: str = "", *actions: str, elem_id: str | None = None) -> Any:
    """Make a component that shows markup of templates; its buttons trigger the named events.

    A button names its event in `data-action`; `data-question` asks for confirmation first.
    """
    names = ", ".join(f'"{action}"' for action in actions)
    script = _SCRIPT % names if actions else None
    return gr.HTML(html, elem_id=elem_id, apply_default_css=False, js_on_load=script)
