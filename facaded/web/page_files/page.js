"use strict";
// The page is complete without this script, which adds a button that copies the command.

// Without `hosts` in the settings, the page does not know the registry's name; the browser does.
for (const element of document.querySelectorAll("[data-host]")) {
  element.textContent = element.textContent.replace("THIS-HOST", location.host);
}

const command = document.getElementById("command");
const button = document.getElementById("copy");
const copied = document.getElementById("copied");

// The clipboard needs https; without it, browsers still copy what is selected.
async function copy() {
  try {
    await navigator.clipboard.writeText(command.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(command);
    return document.execCommand("copy");
  }
}

button.addEventListener("click", async () => {
  const done = await copy();
  button.textContent = done ? "Copied" : "Press Ctrl+C";
  copied.textContent = done ? "The command was copied" : "The command is selected";
  setTimeout(() => { button.textContent = "Copy"; copied.textContent = ""; }, 2500);
});
button.hidden = false;
