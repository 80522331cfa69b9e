// Sends what buttons and forms ask for, and gets the page again when something changed.
"use strict";

(() => {
  const STORED = "gae-devserver-token";
  const main = () => document.getElementById("main");
  const status = document.getElementById("status");
  const tokenForm = document.getElementById("token-form");
  const tokenField = document.getElementById("token-field");

  // --- The token -----------------------------------------------------------------

  // The server prints a link that ends in #TOKEN. What follows # is never sent.
  function takeToken() {
    const hash = location.hash.slice(1);
    if (location.pathname === "/" && hash && !document.getElementById(hash)) {
      sessionStorage.setItem(STORED, decoded(hash));
      history.replaceState(null, "", location.pathname + location.search);
    }
    if (sessionStorage.getItem(STORED) === null) {
      tabs.postMessage({ asks: true });
      setTimeout(() => {
        tokenForm.hidden = sessionStorage.getItem(STORED) !== null;
      }, 200);
    }
  }

  // A link that is opened in a new tab has no token: that tab asks the others.
  const tabs = new BroadcastChannel(STORED);
  tabs.addEventListener("message", ({ data }) => {
    const token = sessionStorage.getItem(STORED);
    if (data.asks && token !== null) tabs.postMessage({ token });
    if (data.token && token === null) {
      sessionStorage.setItem(STORED, data.token);
      tokenForm.hidden = true;
    }
  });

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text;
    }
  }

  function askForToken() {
    sessionStorage.removeItem(STORED);
    tokenForm.hidden = false;
    tokenField.focus();
  }

  tokenForm.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(STORED, tokenField.value.trim());
    tokenField.value = "";
    tokenForm.hidden = true;
    say("");
    main().focus();
  });

  // --- Messages ------------------------------------------------------------------

  let hiding;

  function say(text, isError = false) {
    clearTimeout(hiding);
    // an error stays until something else is done
    if (text && !isError) hiding = setTimeout(say, 8000, "");
    status.textContent = text;
    status.classList.toggle("bad", isError);
  }

  // --- Actions -------------------------------------------------------------------

  async function send(element, body) {
    const { method, url, confirm: question, done, go } = element.dataset;
    if (question && !window.confirm(question)) return false;
    const token = sessionStorage.getItem(STORED);
    if (token === null) {
      say("This needs the token.", true);
      askForToken();
      return false;
    }
    const busy = element.closest("form") ?? element;
    if (busy.getAttribute("aria-busy") === "true") return false;
    busy.setAttribute("aria-busy", "true");
    say("");
    try {
      const response = await fetch(url, {
        method,
        body,
        headers: {
          "Accept": "application/json",
          "Content-Type": "application/json",
          // a header holds only these characters
          "X-Devserver-Token": token.replace(/[^\x21-\x7e]/g, ""),
        },
      });
      const answer = await response.json().catch(() => ({}));
      if (!response.ok) {
        say(answer.error ?? `The server answered ${response.status}.`, true);
        if (response.status === 403) askForToken();
        reload();
        return false;
      }
      if (go) {
        location.assign(fill(go, answer, encodeURIComponent));
        return true;
      }
      say(fill(done ?? "", answer));
      return true;
    } catch (error) {
      say("The server does not answer. Is it still running?", true);
      return false;
    } finally {
      busy.removeAttribute("aria-busy");
    }
  }

  // "{tasks_run} tasks ran" with the values of the answer
  function fill(text, answer, encode = String) {
    return text.replace(/\{(\w+)\}/g, (whole, name) =>
      name in answer ? encode(answer[name]) : whole);
  }

  function bodyOf(form, submitter) {
    const body = {};
    const fields = [...form.elements].filter((field) => field.name && !field.disabled);
    for (const field of fields) {
      if (field.type === "submit" || field.type === "button") {
        if (field !== submitter) continue;
        body[field.name] = field.value;
      } else if (field.type === "checkbox") {
        body[field.name] = field.checked;
      } else if (field.type === "radio") {
        if (field.checked) body[field.name] = field.value;
      } else if (field.type === "select-multiple") {
        body[field.name] = [...field.selectedOptions].map((option) => option.value);
      } else if (field.dataset.type === "number") {
        if (field.value !== "") body[field.name] = Number(field.value);
      } else if (field.dataset.type === "json") {
        try {
          body[field.name] = JSON.parse(field.value);
        } catch (error) {
          field.focus();
          throw new Error(`${labelOf(field)} is not valid JSON: ${error.message}`);
        }
      } else {
        body[field.name] = field.value;
      }
    }
    return JSON.stringify(body);
  }

  function labelOf(field) {
    return field.labels?.[0]?.textContent.trim() || field.name;
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-method]");
    if (!button) return;
    event.preventDefault();
    if (await send(button, button.dataset.body ?? "{}")) reload();
  });

  document.addEventListener("submit", async (event) => {
    const form = event.target.closest("form[data-method]");
    if (!form) return;
    event.preventDefault();
    let body;
    try {
      // a chosen file is the body itself
      const [file] = form.querySelector("input[type=file]")?.files ?? [];
      body = file ?? bodyOf(form, event.submitter);
    } catch (error) {
      say(error.message, true);
      return;
    }
    if (await send(form, body)) {
      form.reset();
      // also if a field has the focus, as after Enter: it is not typed text any more
      reload(true);
    }
  });

  // --- Get the page again --------------------------------------------------------

  let reloading = null;
  let wanted = false;
  let forced = false;

  // While somebody writes, nothing moves.
  function isWriting() {
    const field = document.activeElement;
    return Boolean(field) && main().contains(field) && field.matches(
      "textarea, select, input:not([type=checkbox], [type=radio], [type=submit])");
  }

  function reload(force = false) {
    wanted = true;
    forced ||= force;
    reloading ??= run().finally(() => { reloading = null; });
    return reloading;
  }

  async function run() {
    while (wanted && (forced || !isWriting())) {
      const isForced = forced;
      wanted = forced = false;
      const began = performance.now();
      try {
        const response = await fetch(location.href, { headers: { "Accept": "text/html" } });
        const text = await response.text();
        if (isWriting() && !isForced) {
          wanted = true;
          break;
        }
        const page = new DOMParser().parseFromString(text, "text/html");
        // what was typed must not go away with the thing that it is about
        const keeps = !response.ok && [...main().querySelectorAll("input, textarea")]
          .some(isDirty);
        if (page.getElementById("main") && !keeps) update(page);
      } catch (error) {
        return; // the events say when the server is back
      }
      // a page that takes long to make must not be all that the server does
      const pause = Math.max(200, 3 * (performance.now() - began));
      await new Promise((resolve) => { setTimeout(resolve, pause); });
    }
  }

  document.addEventListener("focusout", () => {
    if (wanted) setTimeout(() => reload());
  });

  function update(page) {
    const focused = document.activeElement;
    const beside = focused?.closest(".actions");
    document.title = page.title;
    morph(main(), page.getElementById("main"));
    if (focused && focused !== document.body && !focused.isConnected) {
      // "Resume" is where "Pause" was
      const next = beside?.isConnected && beside.querySelector("button:not(.danger)");
      (next || main()).focus();
    }
    prepare();
  }

  // Elements that stay keep focus, scroll position, open <details> and typed text.
  function morph(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !isOwn(old, name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value && !isOwn(old, name)) {
        old.setAttribute(name, value);
      }
    }
    if (isDirty(old)) return;
    const kept = new Map();
    for (const child of old.childNodes) {
      const key = keyOf(child);
      if (!kept.has(key)) kept.set(key, []);
      kept.get(key).push(child);
    }
    let next = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const same = kept.get(keyOf(child))?.shift();
      if (!same) {
        old.insertBefore(document.importNode(child, true), next);
        continue;
      }
      if (same === next) next = next.nextSibling;
      else old.insertBefore(same, next);
      if (same.nodeType === Node.ELEMENT_NODE) morph(same, child);
      else if (same.nodeValue !== child.nodeValue) same.nodeValue = child.nodeValue;
    }
    for (const child of [...kept.values()].flat()) child.remove();
  }

  // A row is the same one only if it is about the same thing: a button that has the
  // focus must not become that of another task.
  function keyOf(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return `#${node.nodeType}`;
    const own = node.id || node.dataset.key || node.dataset.url ||
      node.getAttribute("href") || node.getAttribute("name");
    if (own || !node.matches("tr, li, details")) return `${node.tagName} ${own ?? ""}`;
    const inner = node.querySelector("[data-key], [data-url], [href]");
    return `${node.tagName} ${inner ? keyOf(inner) : ""}`;
  }

  // What a user has changed.
  function isOwn(element, name) {
    return (name === "open" && element.matches("details, dialog")) ||
      name === "aria-busy" || (name === "value" && isDirty(element));
  }

  function isDirty(element) {
    if (element.matches("textarea, input")) return element.value !== element.defaultValue;
    return element.matches("select") && [...element.options].some(
      (option) => option.selected !== option.defaultSelected) &&
      element.selectedIndex > 0;
  }

  // --- Live ----------------------------------------------------------------------

  let events = null;

  function watch() {
    const isNeeded = main().dataset.live && document.visibilityState === "visible";
    if (!isNeeded) {
      // a browser has only six connections to a server
      events?.close();
      events = null;
    } else if (events === null) {
      events = new EventSource("/events");
      events.onmessage = (event) => {
        document.body.classList.remove("offline");
        const states = JSON.parse(event.data);
        const shown = JSON.parse(main().dataset.state);
        const names = main().dataset.live.split(" ").filter(Boolean);
        if (names.some((name) => states[name] !== shown[name])) reload();
      };
      events.onerror = () => {
        document.body.classList.add("offline");
        if (events?.readyState === EventSource.CLOSED) {
          events = null;
          setTimeout(watch, 5000);
        }
      };
    }
  }

  document.addEventListener("visibilitychange", watch);

  // --- Countdowns ----------------------------------------------------------------

  let ahead = 0; // of the server's clock, in seconds

  function prepare() {
    const shown = main().dataset.now;
    if (shown !== prepare.shown) {
      prepare.shown = shown;
      ahead = Number(shown) - Date.now() / 1000;
    }
    tick();
  }

  function tick() {
    const now = Date.now() / 1000 + ahead;
    for (const element of document.querySelectorAll("[data-due]")) {
      const text = due(Number(element.dataset.due) - now);
      if (element.textContent !== text) element.textContent = text;
    }
    for (const line of document.querySelectorAll("[data-from]")) {
      const { from, to } = line.dataset;
      const place = 100 * (now - Number(from)) / (Number(to) - Number(from));
      line.setAttribute("x", `${Math.min(100, place).toFixed(2)}%`);
      // the drawing moves on when the present has moved through some of it
      if (place - Number(line.dataset.at) > 3) reload();
    }
    for (const element of document.querySelectorAll("[data-clock]")) {
      const text = new Date(1000 * now).toISOString().slice(0, 19).replace("T", " ");
      if (element.textContent !== text) element.textContent = text;
    }
  }

  function due(seconds) {
    if (seconds >= 1) return `in ${span(Math.round(seconds))}`;
    return seconds > -1 ? "now" : `${span(Math.round(-seconds))} ago`;
  }

  function span(seconds) {
    const parts = [];
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
      const count = Math.floor(seconds / size);
      seconds -= count * size;
      if (count || parts.length) parts.push([count, unit]);
    }
    return parts.slice(0, 2).filter(([count]) => count)
      .map(([count, unit]) => `${count} ${unit}`).join(" ");
  }

  takeToken();
  addEventListener("hashchange", takeToken);
  prepare();
  setInterval(() => { if (!isWriting()) tick(); }, 1000);
  watch();
})();
