// Passkeys: asks the browser for one when a form is sent, and sends its answer along. Without this script, or in a browser without
// passkeys, the page says so, and codes are taken all the same.
"use strict";

// What WebAuthn takes as bytes is base64url in JSON.
function decode(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
}

function encode(bytes) {
  const text = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function described(credentials) {
  return credentials.map((one) => ({ ...one, id: decode(one.id) }));
}

async function create(options) {
  const made = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: decode(options.challenge),
      user: { ...options.user, id: decode(options.user.id) },
      excludeCredentials: described(options.excludeCredentials),
    },
  });
  return answered(made, { attestationObject: encode(made.response.attestationObject) });
}

async function get(options) {
  const signed = await navigator.credentials.get({
    publicKey: {
      ...options,
      challenge: decode(options.challenge),
      allowCredentials: described(options.allowCredentials),
    },
  });
  const { authenticatorData, signature, userHandle } = signed.response;
  return answered(signed, {
    authenticatorData: encode(authenticatorData),
    signature: encode(signature),
    userHandle: userHandle && encode(userHandle),
  });
}

function answered(credential, response) {
  return JSON.stringify({
    id: credential.id,
    rawId: encode(credential.rawId),
    type: credential.type,
    response: { clientDataJSON: encode(credential.response.clientDataJSON), ...response },
  });
}

// Browsers distinguish few reasons, so that pages learn nothing about other passkeys.
const PROBLEMS = {
  InvalidStateError: "This device or security key has a passkey for you already.",
  NotAllowedError: "No passkey was used: it was cancelled, took too long, or there is none on this device.",
  SecurityError: "The browser cannot create passkeys for this address. Open the Server at its public URL.",
};

function prepare(form) {
  const options = JSON.parse(form.dataset.options);
  const field = form.elements.passkey;
  const problem = form.querySelector("[data-passkey-problem]");
  form.querySelector("[data-passkey-missing]").hidden = true;
  for (const element of form.querySelectorAll("[data-passkey-shown]")) element.hidden = false;

  form.addEventListener("submit", async (event) => {
    // If a code was entered, use that.
    if (field.value || form.elements.code?.value.trim()) return;
    event.preventDefault();
    if (form.ariaBusy === "true") return;
    form.ariaBusy = "true";
    problem.hidden = true;
    try {
      field.value = await (form.dataset.passkey === "create" ? create(options) : get(options));
      form.requestSubmit();
    } catch (error) {
      problem.textContent = PROBLEMS[error.name] ?? `The passkey could not be used: ${error.message}`;
      problem.hidden = false;
    } finally {
      form.ariaBusy = "false";
    }
  });
  // After going back to the page, the form would send a response that was already used.
  window.addEventListener("pageshow", () => { field.value = ""; });
}

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll("form[data-passkey]")) prepare(form);
}
