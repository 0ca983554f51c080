"""The look: our colours put into Gradio's theme, with fonts that systems have; nothing is fetched."""

from pathlib import Path

import gradio as gr

_FONTS = ("system-ui", "PingFang SC", "Noto Sans CJK SC", "Noto Sans SC", "Microsoft YaHei", "sans-serif")
_MONOSPACE = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

# (light, dark); style.css has the same colours under the names --r-…
_BACKGROUND = ("#f5f6f8", "#10151c")
_SURFACE = ("#ffffff", "#18202a")
_LINE = ("#cfd6de", "#334152")
_TEXT = ("#16202c", "#e6ebf1")
_MUTED = ("#536072", "#a3b3c5")
_ACCENT = ("#0b6b6b", "#62cdc4")
_ACCENT_HOVER = ("#095858", "#83ddd5")
_ON_ACCENT = ("#ffffff", "#062522")
_HOVER = ("#eceff3", "#222d3a")

_COLOURS = {
    "body_background_fill": _BACKGROUND,
    "body_text_color": _TEXT,
    "body_text_color_subdued": _MUTED,
    "background_fill_primary": _SURFACE,
    "background_fill_secondary": _BACKGROUND,
    "block_background_fill": _SURFACE,
    "block_border_color": _LINE,
    "block_label_text_color": _MUTED,
    "block_title_text_color": _TEXT,
    "block_info_text_color": _MUTED,
    "border_color_primary": _LINE,
    "border_color_accent": _ACCENT,
    "color_accent_soft": _HOVER,
    "input_background_fill": _SURFACE,
    "input_background_fill_focus": _SURFACE,
    "input_border_color": _LINE,
    "input_border_color_focus": _ACCENT,
    "input_placeholder_color": _MUTED,
    "button_primary_background_fill": _ACCENT,
    "button_primary_background_fill_hover": _ACCENT_HOVER,
    "button_primary_border_color": _ACCENT,
    "button_primary_text_color": _ON_ACCENT,
    "button_primary_text_color_hover": _ON_ACCENT,
    "button_secondary_background_fill": _SURFACE,
    "button_secondary_background_fill_hover": _HOVER,
    "button_secondary_border_color": _LINE,
    "button_secondary_text_color": _TEXT,
    "button_secondary_text_color_hover": _TEXT,
    "checkbox_background_color_selected": _ACCENT,
    "checkbox_border_color": _MUTED,
    "checkbox_border_color_selected": _ACCENT,
    "checkbox_label_background_fill": _SURFACE,
    "checkbox_label_background_fill_hover": _HOVER,
    "checkbox_label_background_fill_selected": _HOVER,
    "checkbox_label_text_color": _TEXT,
    "checkbox_label_text_color_selected": _TEXT,
    "checkbox_label_border_color": _LINE,
}


def rapport_theme() -> gr.themes.Base:
    """Build the theme, light and dark."""
    colours = {name: light for name, (light, _) in _COLOURS.items()}
    colours |= {f"{name}_dark": dark for name, (_, dark) in _COLOURS.items()}
    theme = gr.themes.Base(font=list(_FONTS), font_mono=list(_MONOSPACE), radius_size="lg", text_size="md")
    return theme.set(
        **colours,
        button_border_width="1px",
        block_shadow="none",
        button_primary_shadow="none",
        input_shadow="none",
    )


def stylesheet() -> str:
    """Return our own style sheet."""
    return _beside("style.css")


def page_script() -> str:
    """Return the script that every page runs."""
    return _beside("page.js")


def _beside(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
