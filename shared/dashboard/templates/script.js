// The page works without this. With it, it keeps itself up to date and filters while one types.
"use strict";
(() => {
  const seconds = Number(document.body.dataset.refresh);
  const own = { style: document.querySelector("style").textContent, script: document.currentScript.textContent };
  const form = document.getElementById("filters");
  const found = document.getElementById("found");
  const state = document.getElementById("state");
  let waiting = 0;
  let latest = 0;
  let asked = Date.now();

  // Put what is new into the page, and leave the reader where they are: place, focus, what they opened.
  function show(fresh) {
    const focused = document.activeElement && document.activeElement.id;
    const mark = [...document.querySelectorAll("[data-place]")].find((e) => e.getBoundingClientRect().bottom > 0);
    const height = mark && mark.getBoundingClientRect().top;
    for (const old of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (!now) continue;
      for (const open of old.querySelectorAll("details[open]")) {
        const again = open.id && now.querySelector("#" + CSS.escape(open.id));
        if (again) again.open = true;
      }
      if (now.isEqualNode(old)) continue;
      if (old.getAttribute("role") === "status") {
        old.textContent = now.textContent; // the same element, so that a screen reader tells the change
        continue;
      }
      old.replaceWith(document.adoptNode(now));
    }
    document.title = fresh.title;
    const moved = mark && mark.id && document.getElementById(mark.id);
    if (moved && window.scrollY > 0) window.scrollBy(0, moved.getBoundingClientRect().top - height);
    const again = focused && document.getElementById(focused);
    if (again && again !== document.activeElement) again.focus({ preventScroll: true });
  }

  function say(text, late) {
    if (state.textContent !== text) state.textContent = text;
    state.classList.toggle("late", late);
  }

  // What is wrong with the filter, in the words of the app; the next answer takes its place.
  function refuse(problem) {
    found.textContent = [...problem.querySelectorAll("main .message, main .remedy")].map((e) => e.textContent).join(" ");
    found.classList.add("late");
    say("Not up to date: the filter can't be understood.", true);
  }

  const reading = () => {
    const chosen = document.getSelection();
    return chosen && !chosen.isCollapsed && document.getElementById("content").contains(chosen.anchorNode);
  };

  async function load(address) {
    const mine = ++latest;
    clearTimeout(waiting);
    asked = Date.now();
    try {
      const signal = AbortSignal.timeout(30_000);
      const answer = await fetch(address, { headers: { accept: "text/html" }, cache: "no-store", signal });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (mine !== latest) return;
      if (answer.status === 400 && found) return refuse(fresh);
      if (!answer.ok) throw new Error(`the app answered ${answer.status}`);
      const same = ([kind, text]) => fresh.querySelector(kind)?.textContent === text;
      if (!Object.entries(own).every(same)) return location.reload(); // another version of the app
      show(fresh);
      say("", false);
    } catch (error) {
      if (mine === latest) say(`Not up to date: ${error.message}. It is tried again.`, true);
    }
    if (mine === latest) wait();
  }

  // Out of sight only the title is read.
  function wait() {
    clearTimeout(waiting);
    if (seconds) waiting = setTimeout(refresh, 1000 * (document.hidden ? 60 : seconds));
  }

  // Whoever selects text wants to copy it; some forget that they did.
  function refresh() {
    if (!reading() || Date.now() - asked >= 120_000) return load(location.href);
    say("Paused while text is selected.", false);
    wait();
  }

  function filter() {
    const wanted = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    const address = new URL(form.action);
    address.search = wanted;
    history.replaceState(null, "", address);
    load(address);
  }

  if (form) {
    let typed = 0;
    form.addEventListener("input", (event) => {
      if (!("now" in event.target.dataset)) return;
      clearTimeout(typed);
      typed = setTimeout(filter, 250);
    });
    form.addEventListener("change", filter);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(typed);
      filter();
    });
  }
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && seconds) load(location.href);
  });
  wait();
})();
