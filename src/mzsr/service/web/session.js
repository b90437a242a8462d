// A server with a token asks for it once; what was wanted then goes on.

import * as api from "./api.js";
import { byId } from "./dom.js";

const dialog = byId("login");
const words = byId("login-words");

/** Do what is wanted; if the server asks who that is, ask the person, and do it then. */
export async function admitted(wanted) {
  for (let signed = false; ; signed = true) {
    try {
      return await wanted();
    } catch (error) {
      if (error.status !== 401) throw error;
      if (signed) throw new api.Refusal(401, "The browser did not keep the session. Allow cookies for this page, and try again.");
      if (!(await login())) throw error;
    }
  }
}

let asking = null; // one dialog for all who wait

/** Returns whether the server took a token. */
function login() {
  asking ??= ask().finally(() => { asking = null; });
  return asking;
}

function ask() {
  words.hidden = true;
  byId("token").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "in"), { once: true }));
}

dialog.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api.post("/api/session", { token: byId("token").value });
    dialog.close("in");
  } catch (error) {
    words.textContent = error.message;
    words.hidden = false;
  }
});
byId("login-close").addEventListener("click", () => dialog.close(""));
