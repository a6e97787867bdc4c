// In the pages of every version: offers the other versions of this page, and says so if a newer one is there.
// tools/build_site.py puts VERSIONS before it: [{"name": "0.2.0", "pages": ["README.html", …]}, …], the latest first.
"use strict";
{
  const root = new URL(".", document.currentScript.src).href;
  const [current, ...parts] = location.href.split(/[?#]/)[0].slice(root.length).split("/");
  const page = parts.join("/");

  const address = ({ name, pages }) => root + name + "/" + (pages.includes(page) ? page : "README.html");

  const link = (version, text) => {
    const element = document.createElement("a");
    element.href = address(version);
    element.textContent = text;
    return element;
  };

  const menu = document.getElementById("versions");
  const entries = VERSIONS.map((version) => {
    const entry = document.createElement("li");
    const element = link(version, version.name);
    if (version.name === current) element.setAttribute("aria-current", "true");
    entry.append(element);
    return entry;
  });
  menu.prepend(...entries);

  const [latest] = VERSIONS;
  if (latest.name !== current) {
    const note = document.createElement("div");
    note.id = "older-version";
    note.className = "admonition warning";
    note.setAttribute("role", "note");
    const text = document.createElement("p");
    text.append(`This page is about version ${current}. `, link(latest, `The latest version is ${latest.name}`), ".");
    note.append(text);
    document.querySelector("article").prepend(note);
  }
}
