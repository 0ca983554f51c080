"""The pages people see: Gradio Blocks, one builder per page, mounted once per language."""

from chat_app.pages.mounting import mount_pages

__all__ = ["mount_pages"]
