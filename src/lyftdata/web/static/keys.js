// Single keys: j and k move through a list, x checks the row, ? names the keys. Like /, they do nothing in fields, and can be switched
// off on the account's page (WCAG 2.1.4).
"use strict";

const KEYS = [
  ["/", "jumps to a Worker, key, label, reference or page; so does Ctrl K"],
  ["j", "moves to the next row of a list"],
  ["k", "moves to the row before"],
  ["x", "ticks the row"],
  ["Enter", "opens it"],
  ["?", "shows these keys; Esc closes them"],
];
const FIELDS = "input:not([type=checkbox], [type=radio]), select, textarea, dialog *";

function rowOf(element) {
  return element?.closest("main tbody tr, main .inbox > li");
}

// The link with which each visible row begins.
function rowLinks() {
  return [...document.querySelectorAll("main tbody tr, main .inbox > li")]
    .map((row) => row.querySelector("a[href]"))
    .filter((link) => link?.getClientRects().length);
}

function move(step) {
  const links = rowLinks();
  const present = rowOf(document.activeElement);
  const place = links.findIndex((link) => rowOf(link) === present);
  const next = place < 0 ? 0 : Math.max(0, Math.min(place + step, links.length - 1));
  links[next]?.focus();
}

function showKeys() {
  let dialog = document.getElementById("keys");
  if (!dialog) {
    dialog = document.createElement("dialog");
    dialog.id = "keys";
    dialog.setAttribute("aria-labelledby", "keys-title");
    dialog.innerHTML = '<h2 id="keys-title">Keys</h2><dl></dl><form method="dialog"><button>Close</button></form>';
    for (const [key, text] of KEYS) {
      const name = document.createElement("dt");
      name.append(document.createElement("kbd"));
      name.firstChild.textContent = key;
      const meaning = document.createElement("dd");
      meaning.textContent = text;
      dialog.querySelector("dl").append(name, meaning);
    }
    document.body.append(dialog);
  }
  if (!dialog.open) dialog.showModal();
}

const ACTIONS = {
  j: () => move(1),
  k: () => move(-1),
  x: () => rowOf(document.activeElement)?.querySelector("input[name=id]")?.click(),
  "?": showKeys,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.target.matches(FIELDS)) return;
  if (!Object.hasOwn(ACTIONS, event.key) || localStorage.getItem("slash") === "off") return;
  event.preventDefault();
  ACTIONS[event.key]();
});
