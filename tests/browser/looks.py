"""Measures what a person sees: contrast of text, size of what can be touched, whether a page fits."""

from typing import Any

from playwright.sync_api import Page

_LOW_CONTRAST = """() => {
  const channels = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const background = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = channels(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (box.width < 2 || element.closest("script, style, :disabled")) continue;
    const [one, two] = [luminance(channels(style.color)), luminance(background(element))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)}: ${walker.currentNode.textContent.trim().slice(0, 40)}`);
  }
  return poor;
}"""

_SMALL_TARGETS = """() => {
  const small = [];
  for (const element of document.querySelectorAll("a, button, textarea, summary, label:has(input)")) {
    const box = element.getBoundingClientRect();
    if (!element.checkVisibility({ visibilityProperty: true }) || box.width < 2 || box.right < 0) continue;
    if (box.height < 43.5) small.push(`${box.height.toFixed(0)}: ${element.textContent.trim().slice(0, 40)}`);
  }
  return small;
}"""

_UNNAMED = """() => [...document.querySelectorAll("a, button, textarea, input, [role=region], [role=group]")]
  .filter((element) => element.checkVisibility({ visibilityProperty: true }))
  .filter((element) => !(element.textContent.trim() || element.ariaLabel || element.labels?.length
    || element.getAttribute("aria-labelledby")))
  .map((element) => element.outerHTML.slice(0, 120))"""


def low_contrast(page: Page) -> Any:
    """Texts with less contrast than WCAG AA asks of small ones (4.5 to 1)."""
    return page.evaluate(_LOW_CONTRAST)


def small_targets(page: Page) -> Any:
    """Links, buttons and fields lower than 44 pixels."""
    return page.evaluate(_SMALL_TARGETS)


def unnamed(page: Page) -> Any:
    """Controls without a name for a screen reader."""
    return page.evaluate(_UNNAMED)


def overflow(page: Page) -> Any:
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")
