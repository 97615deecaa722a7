"use strict";
// The page is complete without this script, which keeps it fresh: it fetches the page again, and changes what differs.

const PERIOD = 3000; // milliseconds
const HIDDEN_PERIOD = 30000; // nobody looks, but the title and the icon of the tab are seen
const PATIENCE = 5000;

const connection = document.getElementById("connection");
let lastAnswer = new Date();
let timer = 0;
let isFetching = false;

// Changes only what differs, so that what a person has selected stays, and a screen reader says only what is new: it
// does so only if the element that it watches, the headline, stays the same one.
function update(shown, fresh) {
  if (shown.isEqualNode(fresh)) return;
  if (shown.nodeName !== fresh.nodeName) {
    shown.replaceWith(document.importNode(fresh, true));
  } else if (shown.nodeType === Node.TEXT_NODE) {
    shown.data = fresh.data;
  } else {
    for (const { name } of [...shown.attributes]) if (!fresh.hasAttribute(name)) shown.removeAttribute(name);
    for (const { name, value } of fresh.attributes) {
      if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
    }
    const [before, after] = [[...shown.childNodes], [...fresh.childNodes]];
    before.slice(after.length).forEach((child) => child.remove());
    after.forEach((child, index) => {
      if (index < before.length) update(before[index], child);
      else shown.append(document.importNode(child, true));
    });
  }
}

async function refresh() {
  if (isFetching) return;
  isFetching = true;
  clearTimeout(timer);
  try {
    const response = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(`it answers ${response.status}`);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const id of ["as-of", "main", "icon"]) {
      const element = fresh.getElementById(id);
      if (!element) throw new Error("something else answers");
      update(document.getElementById(id), element);
    }
    if (document.title !== fresh.title) document.title = fresh.title;
    lastAnswer = new Date();
    showConnection("");
  } catch (error) {
    const reason = error.message.startsWith("it answers") ? ` (${error.message})` : "";
    const since = lastAnswer.toISOString().slice(11, 19);
    showConnection(`facaded does not answer${reason}: this is what it said at ${since} UTC`);
    if (!document.title.startsWith("? ")) document.title = `? ${document.title}`;
  }
  isFetching = false;
  timer = setTimeout(refresh, document.hidden ? HIDDEN_PERIOD : PERIOD);
}

function showConnection(text) {
  if (connection.textContent !== text) connection.textContent = text;
  document.body.classList.toggle("stale", text !== "");
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
timer = setTimeout(refresh, PERIOD);
