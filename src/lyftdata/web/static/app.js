// What the pages do beyond reading: live updates, copying, tabs, ticking all. Every page works without it.
"use strict";

// The stream says only that something has changed; what a page shows, it asks for itself. A tab that is not looked at
// holds no connection: browsers give a site six.
const live = document.body.dataset.live;
let stream = null;

// What is on its way was asked for before this change. It replaces the very element that would ask once more, so the
// question waits until that has come.
let isMissed = false;

function renew() {
  isMissed = document.querySelector(".htmx-request") !== null;
  if (!isMissed) htmx.trigger(document.body, "fleet");
}

for (const name of ["htmx:afterSettle", "htmx:responseError", "htmx:sendError"]) {
  document.addEventListener(name, () => { if (isMissed) setTimeout(renew, 50); });
}

function lost(isLost) {
  document.getElementById("lost").hidden = !isLost;
}

function listen() {
  const wanted = Boolean(live) && !document.hidden;
  if (wanted && !stream) {
    stream = new EventSource(live);
    stream.addEventListener("fleet", renew);
    // Whatever happened between the page and the stream, or while the stream was lost, is asked for now.
    stream.addEventListener("open", () => { lost(false); renew(); });
    stream.addEventListener("error", () => lost(true));
  } else if (!wanted && stream) {
    stream.close();
    stream = null;
  }
}

document.addEventListener("visibilitychange", () => {
  listen();
  if (!document.hidden && live) renew();
});
window.addEventListener("pagehide", () => { if (stream) stream.close(); });
listen();

// A list that is renewed under the pointer keeps its ticks.
let ticked = new Set();
document.addEventListener("htmx:beforeSwap", () => {
  ticked = new Set([...document.querySelectorAll("input[name=id]:checked")].map((box) => box.value));
});
document.addEventListener("htmx:afterSwap", () => {
  for (const box of document.querySelectorAll("input[name=id]")) box.checked = box.checked || ticked.has(box.value);
  prepare(document);
});
// Somebody who is reading a tooltip or has selected text must not lose it to an update.
document.addEventListener("htmx:confirm", (event) => {
  if (event.detail.triggeringEvent?.type === "fleet" && String(document.getSelection())) event.preventDefault();
});

async function copy(button, text) {
  await navigator.clipboard.writeText(text);
  const before = button.lastChild.previousSibling.textContent;
  button.lastChild.previousSibling.textContent = " Copied";
  setTimeout(() => { button.lastChild.previousSibling.textContent = before; }, 1500);
}

function prepare(root) {
  for (const button of root.querySelectorAll("[data-copy], [data-copy-previous]")) {
    if (!navigator.clipboard || button.dataset.ready) continue;
    button.dataset.ready = "yes";
    button.hidden = false;
    button.addEventListener("click", () => copy(button, button.dataset.copy ?? button.previousElementSibling.textContent));
  }
  for (const all of root.querySelectorAll("[data-all]")) {
    all.hidden = false;
    all.onchange = () => {
      for (const box of document.querySelectorAll("input[name=id]")) box.checked = all.checked;
    };
  }
}

// Sections one below the other become tabs (WAI-ARIA Authoring Practices, tabs with manual activation).
function tabs(box) {
  const sections = [...box.children];
  const list = document.createElement("div");
  list.role = "tablist";
  list.ariaLabel = "How to start it";
  const buttons = sections.map((section, index) => {
    const button = document.createElement("button");
    const heading = section.querySelector("h3");
    button.type = "button";
    button.role = "tab";
    button.id = `${section.id}-tab`;
    button.textContent = heading.textContent;
    button.setAttribute("aria-controls", section.id);
    heading.remove();
    section.role = "tabpanel";
    section.setAttribute("aria-labelledby", button.id);
    button.addEventListener("click", () => show(index));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) { event.preventDefault(); show((index + step + sections.length) % sections.length, true); }
    });
    return button;
  });
  function show(chosen, focus) {
    sections.forEach((section, index) => { section.hidden = index !== chosen; });
    buttons.forEach((button, index) => {
      button.ariaSelected = String(index === chosen);
      button.tabIndex = index === chosen ? 0 : -1;
    });
    if (focus) buttons[chosen].focus();
  }
  list.append(...buttons);
  box.prepend(list);
  show(0);
}

// A page that answers a form and shows a secret once stands in the history as what it was about: loaded again, or come
// back to, that is asked for, and the form is not sent a second time.
if (document.body.dataset.instead) history.replaceState(null, "", document.body.dataset.instead);

// Nor is it by a second click while the first is on its way.
const sent = new WeakSet();
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.defaultPrevented) return;
  if (sent.has(event.target)) event.preventDefault();
  sent.add(event.target);
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) sent.delete(form);
});

for (const box of document.querySelectorAll("[data-tabs]")) tabs(box);
prepare(document);
