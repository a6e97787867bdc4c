// The jump box of every page: an editable combobox with a listbox (WAI-ARIA Authoring Practices), usable by keyboard alone.
// Without scripts it is a search field that leads to a page with the same results. `app.js` loads this when it is first used.
"use strict";

{
  const WAIT_MS = 150;
  const input = document.getElementById("jump");
  const list = document.getElementById("jump-list");
  const box = list.parentElement;
  const counter = document.getElementById("jump-count");
  let timer = 0;
  let request = null;
  let chosen = -1;
  // Enter was pressed before the results arrived.
  let isEntered = false;

  const options = () => [...list.querySelectorAll("[role=option]")];

  function choose(index) {
    const all = options();
    all.forEach((option, number) => option.setAttribute("aria-selected", String(number === index)));
    chosen = all[index] ? index : -1;
    if (chosen < 0) {
      input.removeAttribute("aria-activedescendant");
      return;
    }
    input.setAttribute("aria-activedescendant", all[chosen].id);
    all[chosen].scrollIntoView({ block: "nearest" });
  }

  function say(text) {
    counter.textContent = text;
    announce(text);
  }

  function open(text) {
    box.hidden = false;
    input.setAttribute("aria-expanded", String(options().length > 0));
    choose(options().length ? 0 : -1);
    say(text);
  }

  function close() {
    clearTimeout(timer);
    request?.abort();
    request = null;
    timer = 0;
    isEntered = false;
    box.hidden = true;
    list.replaceChildren();
    input.setAttribute("aria-expanded", "false");
    choose(-1);
    announce("");
  }

  function go() {
    options()[chosen]?.click();
  }

  async function ask() {
    timer = 0;
    request?.abort();
    request = null;
    const text = input.value.trim();
    if (text.includes("lyftdata_")) {
      // Keys stay out of URLs, and so out of the logs of proxies.
      list.replaceChildren();
      open("A key is not searched for here: use the Incident page.");
      return;
    }
    const mine = new AbortController();
    request = mine;
    try {
      const answer = await fetch(`/jump?${new URLSearchParams({ q: text })}`, { headers: { "HX-Request": "true" }, signal: mine.signal });
      if (!answer.ok || answer.headers.has("HX-Redirect")) throw new Error("not answered");
      const html = await answer.text();
      if (request !== mine) return;
      list.innerHTML = html;
    } catch {
      if (request !== mine) return;
      list.replaceChildren();
      open("The Server does not answer.");
      return;
    } finally {
      if (request === mine) request = null;
    }
    const number = options().length;
    const trouble = list.querySelector("[data-trouble]");
    trouble?.remove();
    open(trouble?.textContent ?? (number === 1 ? "1 result" : number ? `${number} results` : "Nothing found"));
    if (isEntered) go();
    isEntered = false;
  }

  function askSoon(delay) {
    clearTimeout(timer);
    timer = setTimeout(ask, delay);
  }

  input.addEventListener("input", () => {
    // These results are for another text: Enter, pressed before the next request, would open the first of them.
    request?.abort();
    request = null;
    isEntered = false;
    askSoon(WAIT_MS);
  });
  input.addEventListener("focus", () => askSoon(0));
  input.addEventListener("blur", close);
  // A press on an option must not take the focus, and with it the options, away before the click.
  box.addEventListener("pointerdown", (event) => event.preventDefault());
  box.addEventListener("mousedown", (event) => event.preventDefault());

  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const last = options().length - 1;
    const moves = { ArrowDown: chosen >= last ? 0 : chosen + 1, ArrowUp: chosen <= 0 ? last : chosen - 1 };
    if (event.key in moves) {
      event.preventDefault();
      if (box.hidden) askSoon(0);
      else choose(moves[event.key]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (timer || request) isEntered = true;
      else go();
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (box.hidden) input.value = "";
      close();
    }
  });

  // Handle what happened while this script was loading.
  isEntered = input.dataset.entered !== undefined;
  if (document.activeElement === input) askSoon(0);
}
