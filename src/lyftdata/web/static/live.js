// Live regions: the parts of a page that stay current while it is open.
//
// A region asks the Server for itself: when the event stream says that something has changed, and at intervals. It is
// morphed into the answer, so the elements, and with them focus, ticks and scroll positions, stay the same.
"use strict";

const REGION = "[data-region]";
const EDITABLE = "input:not([type=checkbox], [type=radio], [type=submit], [type=button]), select, textarea";
const REQUEST_TIMEOUT_MS = 15_000;
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 15_000;
// A tap's click comes in a task after its pointerup.
const CLICK_WITHIN_MS = 50;
// htmx reads an element's changed attributes after the swap has settled (20 ms).
const SETTLED_MS = 50;

// --- Morphing --------------------

// An update must not reset what a person has entered or opened, nor what app.js has shown.
function mayUpdate(name, element) {
  if (name === "value" && "defaultValue" in element) return element.value === element.defaultValue;
  if (name === "selected") return element.selected === element.defaultSelected;
  if (name === "hidden") return !shownByScript.has(element);
  return name !== "checked" && name !== "open";
}

// What is folded away cannot have the focus: the line that opens the fold can.
function focusable(element) {
  return element.closest("details:not([open])")?.querySelector("summary") ?? element;
}

// A browser without moveBefore() drops the focus when an element changes its place. And if the focused row is gone,
// its neighbour takes the focus: from the body, a keyboard would have to start again.
function keepFocus(region) {
  const focused = document.activeElement;
  if (focused === region || !region.contains(focused)) return () => {};
  const row = focused.closest("tr, li");
  const list = row?.parentElement;
  const index = list ? [...list.children].indexOf(row) : 0;
  return () => {
    if (document.activeElement === focused && focusable(focused) === focused) return;
    const neighbour = list?.isConnected ? list.children[Math.min(index, list.children.length - 1)] : null;
    const next = region.contains(focused) ? focused : neighbour?.querySelector("a, button, input") ?? region;
    focusable(next).focus({ preventScroll: true });
  };
}

// A link is the same one as long as it leads to the same place, and a form as long as it does the same. Without this the
// focus on one button could become the focus on the button that takes its place.
function identify(root) {
  const counts = new Map();
  for (const element of root.querySelectorAll("a:not([id]), form:not([id]), button:not([id])")) {
    // Attributes and not properties: an input named `id` or `action` hides those of its form.
    const target = ["href", "action", "name", "value"].map((name) => element.getAttribute(name));
    const key = JSON.stringify([element.localName, ...target]);
    counts.set(key, (counts.get(key) ?? 0) + 1);
    element.setAttribute("id", `${key}${counts.get(key)}`);
  }
}

function morph(region, fragment) {
  // An answer without the region is about something else, for example a search that was redirected.
  if (!fragment.firstElementChild) return [region];
  const restoreFocus = keepFocus(region);
  identify(region);
  identify(fragment);
  const morphed = Idiomorph.morph(region, fragment.children, { callbacks: { beforeAttributeUpdated: mayUpdate } });
  restoreFocus();
  return morphed;
}

// Not the extension that comes with idiomorph: that one evaluates text as code, which the policy forbids.
htmx.defineExtension("morph", {
  isInlineSwap: (style) => style === "morph",
  handleSwap: (style, target, fragment) => style === "morph" && morph(target, fragment),
});

// --- Holding an update while a person uses what is shown --------------------

// Elements whose response was not shown, or that got none: they send the request again as soon as that can help.
const unanswered = new Set();
let isPressed = false;

function isEdited(region) {
  return region.contains(document.activeElement) && document.activeElement.matches(EDITABLE);
}

function isSelected(region) {
  const selection = document.getSelection();
  return !selection.isCollapsed && selection.containsNode(region, true);
}

function isHeld(region) {
  return isPressed || isEdited(region) || isSelected(region);
}

function targetOf(element) {
  return document.querySelector(element.getAttribute("hx-target")) ?? element;
}

// The element that sent the request, or the region that it is for if it only sends one when clicked.
function askerOf(detail) {
  const { elt } = detail.requestConfig;
  return elt.matches("[hx-trigger*=refresh]") ? elt : detail.target;
}

function askAgain() {
  for (const element of [...unanswered]) {
    if (element.isConnected && isHeld(targetOf(element))) continue;
    unanswered.delete(element);
    if (element.isConnected) htmx.trigger(element, "refresh");
  }
  showHeld();
}

function showHeld() {
  const isWaiting = [...unanswered].some((element) => element.isConnected && isSelected(targetOf(element)));
  setText("held", isWaiting ? "Updates wait while text is selected." : "");
}

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const region = detail.target;
  if (!detail.shouldSwap || !region.matches(REGION)) return;
  const asker = askerOf(detail);
  // A link inside only sends a request when it is clicked: its response is always shown.
  if (asker !== detail.requestConfig.elt) return;
  const isBackground = asker === region;
  // The filter was changed after this request.
  const isOutdated = isBackground && detail.pathInfo.requestPath !== region.getAttribute("hx-get");
  if (!isOutdated && !(isBackground ? isHeld(region) : isPressed)) return;
  detail.shouldSwap = false;
  unanswered.add(asker);
  showHeld();
  if (isOutdated) setTimeout(askAgain, SETTLED_MS);
});

// Shown, if only by a later request.
document.addEventListener("htmx:afterSwap", (event) => {
  unanswered.delete(event.target);
  showHeld();
});

let releasing = 0;
document.addEventListener("pointerdown", (event) => {
  clearTimeout(releasing);
  releasing = 0;
  isPressed = event.target.closest(REGION) !== null;
}, true);

function release() {
  if (!isPressed) return;
  clearTimeout(releasing);
  releasing = setTimeout(() => { releasing = 0; isPressed = false; askAgain(); }, CLICK_WITHIN_MS);
}

document.addEventListener("pointerup", release, true);
document.addEventListener("pointercancel", release, true);
// A menu or a scroll bar may have swallowed the pointerup.
document.addEventListener("pointermove", (event) => { if (event.buttons === 0 && !releasing) release(); }, true);
document.addEventListener("focusout", () => setTimeout(askAgain, 0));
document.addEventListener("selectionchange", () => { if (unanswered.size) askAgain(); });

// --- Showing whether the page is current --------------------

function setText(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}

// Half of the delay is random: the browsers of a whole team must not return to a restarted Server at the same moment.
function backoff(action) {
  let timer = 0;
  let attempts = 0;
  return {
    schedule() {
      if (timer) return;
      const ceiling = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** attempts);
      attempts += 1;
      timer = setTimeout(() => { timer = 0; action(); }, ceiling * (0.5 + Math.random() / 2));
    },
    reset() {
      clearTimeout(timer);
      timer = 0;
      attempts = 0;
    },
  };
}

// Also for a region that is held: whether the Server is reachable can be shown without showing its response.
const requestRetry = backoff(() => {
  const elements = [...unanswered];
  unanswered.clear();
  for (const element of elements) if (element.isConnected) htmx.trigger(element, "refresh");
});

function connected() {
  requestRetry.reset();
  setText("lost", "");
}

function failed(detail, problem) {
  unanswered.add(askerOf(detail));
  setText("lost", `${problem}: what is shown may be old.`);
  requestRetry.schedule();
}

document.addEventListener("htmx:configRequest", ({ detail }) => {
  // Does not use the session.
  if (detail.elt.matches(REGION)) detail.headers["Lyftdata-Background"] = "yes";
  // A Server that accepts the connection but does not answer is as lost as one that refuses it.
  if (detail.target.matches(REGION)) detail.timeout = REQUEST_TIMEOUT_MS;
});
document.addEventListener("htmx:sendError", ({ detail }) => failed(detail, "Not connected to the Server"));
document.addEventListener("htmx:timeout", ({ detail }) => failed(detail, "The Server does not answer"));
document.addEventListener("htmx:responseError", ({ detail }) => {
  const { status } = detail.xhr;
  failed(detail, status >= 500 ? "Not connected to the Server" : "The Server refuses to show this page again");
});
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.successful) connected();
});

// --- The event stream --------------------

// It only says that something has changed. A hidden tab holds no connection: browsers allow six for a site.
const streamUrl = document.body.dataset.live;
const streamRetry = backoff(openStream);
let stream = null;
let hasBeenOpen = false;

function refresh() {
  for (const region of document.querySelectorAll(REGION)) htmx.trigger(region, "refresh");
}

function openStream() {
  if (!streamUrl || document.hidden || stream) return;
  stream = new EventSource(streamUrl);
  stream.addEventListener("fleet", () => htmx.trigger(document.body, "fleet"));
  stream.addEventListener("open", () => {
    streamRetry.reset();
    connected();
    // What has happened while the stream was lost is asked for now. Between the page and its first stream the Server tells:
    // the address names the state that the page shows.
    if (hasBeenOpen) refresh();
    hasBeenOpen = true;
  });
  stream.addEventListener("error", () => {
    // A proxy may refuse only the stream: a request shows whether the Server is reachable.
    refresh();
    // The browser reconnects after a network error, but never after a response that is not a stream.
    if (stream?.readyState !== EventSource.CLOSED) return;
    closeStream();
    streamRetry.schedule();
  });
}

function closeStream() {
  stream?.close();
  stream = null;
}

function leave() {
  closeStream();
  streamRetry.reset();
}

function comeBack() {
  openStream();
  refresh();
}

document.addEventListener("visibilitychange", () => (document.hidden ? leave() : comeBack()));
window.addEventListener("pagehide", leave);
window.addEventListener("pageshow", (event) => { if (event.persisted) comeBack(); });
window.addEventListener("online", comeBack);
openStream();
