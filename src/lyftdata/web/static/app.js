// Conveniences of the pages: copying, checking all boxes, tabs, submitting a form only once. Every page works without it.
"use strict";

// Elements that are only shown with scripts stay shown when their region is updated.
const shownByScript = new WeakSet();

function reveal(element) {
  shownByScript.add(element);
  element.hidden = false;
}

// For screen readers, which only announce changes within a live region that they already know.
function announce(text) {
  document.getElementById("said").textContent = text;
}

const labels = new WeakMap();

async function copy(button) {
  const label = button.querySelector(".label");
  const text = button.dataset.copy ?? button.previousElementSibling.textContent;
  if (!labels.has(button)) labels.set(button, label.textContent);
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
  } catch {
    label.textContent = "Not copied: select it";
  }
  announce(label.textContent);
  setTimeout(() => { label.textContent = labels.get(button); announce(""); }, 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-copy-previous]");
  if (button) copy(button);
});

// The box in the heading shows the state of all boxes below: checked, unchecked, or mixed.
const TICKS = "input[name=id]";

function showAllTicked() {
  const boxes = [...document.querySelectorAll(TICKS)];
  const ticked = boxes.filter((box) => box.checked).length;
  for (const all of document.querySelectorAll("[data-all]")) {
    all.checked = ticked > 0 && ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
  }
  const box = document.getElementById("every");
  const every = Boolean(box?.checked);
  for (const text of document.querySelectorAll("[data-chosen]")) {
    const said = every ? `all ${box.dataset.total} that match` : ticked ? `${ticked} ticked` : "those ticked";
    if (text.textContent !== said) text.textContent = said;
    text.closest("fieldset").classList.toggle("chosen", every || ticked > 0);
  }
}

// A Shift-click sets every box from the last clicked one to this one.
let lastTicked = null;
document.addEventListener("click", (event) => {
  if (!event.target.matches(TICKS)) return;
  const boxes = [...document.querySelectorAll(TICKS)];
  const [from, to] = [boxes.indexOf(lastTicked), boxes.indexOf(event.target)];
  if (event.shiftKey && from >= 0) {
    for (const box of boxes.slice(Math.min(from, to), Math.max(from, to) + 1)) box.checked = event.target.checked;
  }
  lastTicked = event.target;
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) {
    for (const box of document.querySelectorAll(TICKS)) box.checked = event.target.checked;
  }
  showAllTicked();
});

// A fold that was opened is open again when the page is, for as long as the tab lives.
const restored = new WeakSet();

function restoreFolds() {
  for (const fold of document.querySelectorAll("details[data-kept]")) {
    if (!restored.has(fold) && sessionStorage.getItem(`open ${fold.id}`)) fold.open = true;
    restored.add(fold);
  }
}

// It does not bubble.
document.addEventListener("toggle", ({ target }) => {
  if (!target.matches("details[data-kept]")) return;
  if (target.open) sessionStorage.setItem(`open ${target.id}`, "yes");
  else sessionStorage.removeItem(`open ${target.id}`);
}, true);

function prepare() {
  for (const element of document.querySelectorAll("[data-all]")) reveal(element);
  if (navigator.clipboard) {
    for (const button of document.querySelectorAll("[data-copy], [data-copy-previous]")) reveal(button);
  }
  // Only tables that scroll are Tab stops; without scripts, all tables are.
  for (const box of document.querySelectorAll(".scroll")) box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1;
  restoreFolds();
  showAllTicked();
}

document.addEventListener("htmx:afterSwap", prepare);
window.addEventListener("resize", prepare);
// A browser restores earlier checks only once the page has loaded.
window.addEventListener("pageshow", showAllTicked);

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

// Nor does a second click send it again while the first request is pending.
const sent = new WeakSet();
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.defaultPrevented) return;
  if (sent.has(event.target)) event.preventDefault();
  sent.add(event.target);
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) sent.delete(form);
});

// The jump box: its script is loaded when it is first used, and Enter waits for that.
function prepareJump(input) {
  input.placeholder = matchMedia("(pointer: coarse)").matches ? "Jump to…" : "Jump to…  Ctrl K";
  input.form.addEventListener("submit", (event) => {
    event.preventDefault();
    input.dataset.entered = "";
  });
  input.addEventListener("focus", () => {
    const script = document.createElement("script");
    script.src = input.dataset.script;
    script.addEventListener("error", () => input.form.submit());
    document.head.append(script);
  }, { once: true });
  document.addEventListener("keydown", (event) => {
    const isAlone = !event.ctrlKey && !event.metaKey && !event.altKey;
    const isTyped = event.target.matches("input, select, textarea");
    const isSlash = event.key === "/" && isAlone && !isTyped && localStorage.getItem("slash") !== "off";
    const isK = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
    if (!isSlash && !isK) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
}

const jump = document.getElementById("jump");
if (jump) prepareJump(jump);

// A shortcut of one character can be switched off (WCAG 2.1.4).
for (const tick of document.querySelectorAll("[data-slash]")) {
  reveal(tick.closest("[hidden]"));
  tick.checked = localStorage.getItem("slash") !== "off";
  tick.addEventListener("change", () => localStorage.setItem("slash", tick.checked ? "on" : "off"));
}

// Only the browser knows the local time zone.
for (const button of document.querySelectorAll("[data-zone]")) {
  button.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
}

for (const box of document.querySelectorAll("[data-tabs]")) tabs(box);
prepare();
