// Enter in a text field presses the button that belongs to this field, and never the first button of its form.
"use strict";

document.addEventListener("keydown", (event) => {
  const button = event.target.dataset?.presses;
  if (event.key !== "Enter" || event.isComposing || !button) return;
  event.preventDefault();
  document.getElementById(button).click();
});
