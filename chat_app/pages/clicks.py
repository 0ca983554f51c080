"""The script that turns clicks on our own markup into Gradio events with the button's data."""

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


def click_script(*actions: str) -> str:
    """Return the script for an HTML component whose buttons trigger these events.

    A button names its event in `data-action`; `data-question` asks for confirmation first.
    """
    return _SCRIPT % ", ".join(f'"{action}"' for action in actions)
