"""Connects components to handlers, always alike: not shown in the API, no overlays, once at a time."""

from collections.abc import Callable
from typing import Any

import gradio as gr

Updates = dict[Any, Any]  # a component and what becomes of it

_QUIET = {"show_progress": "hidden", "api_visibility": "private"}


def on(
    trigger: Callable[..., Any], handler: Callable[..., Any], inputs: list[Any], outputs: list[Any]
) -> Any:
    """Call the handler when the trigger (`button.click`) fires; another while it runs is ignored."""
    return trigger(handler, inputs=inputs, outputs=outputs, trigger_mode="once", **_QUIET)


def on_load(page: gr.Blocks, handler: Callable[..., Any], outputs: list[Any]) -> Any:
    """Call the handler when a browser has opened the page."""
    return page.load(handler, inputs=[], outputs=outputs, **_QUIET)
