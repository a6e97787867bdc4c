// What an action has done, or what is wrong with a form, is said by screen readers too. They announce what changes in a live
// region that they know already, and not what is there when the page loads: the Server writes each message next to an empty
// region, and here it moves in. It looks the same before and after.
"use strict";

// A screen reader reads the page's title first, and misses what changes before it knows the page.
const KNOWN_AFTER_MS = 300;

window.addEventListener("load", () => setTimeout(() => {
  for (const message of document.querySelectorAll("[data-say]")) {
    document.getElementById(message.dataset.say).append(message);
    message.removeAttribute("data-say");
  }
}, KNOWN_AFTER_MS));
