// Runs on every page before Gradio: links that keep the address, the newest words in view, local times, one vote per click.
(() => {
  const find = (selector) => document.querySelector(selector);

  // The other language shows the same conversation or job; "skip to content" must not follow <base>.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-keep-search], a[data-skip]");
    if (!link) return;
    if ("skip" in link.dataset) {
      event.preventDefault();
      find("#r-message textarea, #r-content button:enabled, #r-content input")?.focus();
    } else {
      link.href = new URL(link.getAttribute("href"), location.origin).pathname + location.search;
    }
  });

  // Keep the newest words in view unless somebody has scrolled up to read.
  let isPinned = true;
  document.addEventListener("scroll", (event) => {
    const area = event.target;
    if (area.id === "r-scroll") isPinned = area.scrollHeight - area.scrollTop - area.clientHeight < 80;
  }, true);
  const keepNewestInView = () => {
    const area = find("#r-scroll");
    if (area && isPinned && !find(".r-empty")) area.scrollTop = area.scrollHeight;
  };
  window.rapportPin = () => { isPinned = true; };

  // A conversation that has just begun gets its address, so that a reload shows it again.
  const keepAddress = () => {
    const id = find("[data-conversation]")?.dataset.conversation;
    if (id && new URLSearchParams(location.search).get("c") !== id) history.replaceState(null, "", "?c=" + id);
  };

  const showLocalTimes = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const parts = "clock" in time.dataset ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" };
      const local = new Date(time.dateTime).toLocaleString(document.documentElement.lang, parts);
      if (time.textContent !== local) time.textContent = local;
    }
  };

  // Seconds from the moment both answers could be voted on.
  let shown = { id: "", at: 0 };
  const noteShownPair = () => {
    const id = find(".r-pair")?.dataset.comparison ?? "";
    if (id !== shown.id) shown = { id, at: performance.now() };
  };
  window.rapportSecondsShown = () => (performance.now() - shown.at) / 1000;

  new MutationObserver(() => {
    showLocalTimes();
    noteShownPair();
    keepAddress();
    keepNewestInView();
  }).observe(document, { childList: true, subtree: true, characterData: true });
  addEventListener("resize", keepNewestInView);

  // The drawer with the conversations on a phone.
  window.rapportDrawer = (isOpen) => document.body.classList.toggle("r-drawer-open", isOpen);
  addEventListener("keydown", (event) => { if (event.key === "Escape") window.rapportDrawer(false); });
})();
