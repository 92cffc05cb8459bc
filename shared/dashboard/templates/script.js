// The page works without this script. With it, the page keeps itself up to date and filters while a person types.
"use strict";
(() => {
  const seconds = Number(document.body.dataset.refresh);
  const asset = (page, id) => page.getElementById(id)?.textContent; // browser extensions add elements of their own
  const own = ["style", "script"].map((id) => [id, asset(document, id)]);
  const form = document.getElementById("filters");
  const matches = document.getElementById("matches");
  const state = document.getElementById("state");
  let waiting = 0;
  let latest = 0;
  let asked = Date.now();

  // Change the element `old` into `now`. Children are matched by their id, or else by their place. A part that is the same
  // is not touched, so that focus, selection, opened details and the position of a screen reader stay.
  function renew(old, now) {
    if (old.isEqualNode(now)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.data = now.data;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (name !== "open" && !now.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of now.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const named = new Map([...old.children].map((child) => [child.id, child]));
    const current = new Set();
    let at = old.firstChild;
    for (const fresh of [...now.childNodes]) {
      let child = fresh.id ? named.get(fresh.id) : at && !at.id && at;
      if (child && child.nodeName === fresh.nodeName) renew(child, fresh);
      else child = fresh;
      const follows = child === at || (at && at.nextElementSibling === child); // what lies between goes or moves later
      if (!follows) old.insertBefore(child, at);
      current.add(child);
      at = child.nextSibling;
    }
    for (const child of [...old.childNodes]) if (!current.has(child)) child.remove();
  }

  // Update the page, and scroll so that most of what the reader sees does not move.
  function show(fresh) {
    const focused = document.activeElement && document.activeElement.id;
    const visible = [...document.querySelectorAll("[data-place]")]
      .map((place) => [place, place.getBoundingClientRect()])
      .filter(([, { top, bottom }]) => bottom > 0 && top < window.innerHeight);
    for (const old of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(old.id);
      if (now) renew(old, now);
    }
    document.title = fresh.title;
    const shifts = visible
      .filter(([place]) => place.getClientRects().length)
      .map(([place, { top }]) => place.getBoundingClientRect().top - top)
      .sort((first, second) => first - second);
    if (shifts.length && window.scrollY > 0) window.scrollBy(0, shifts[shifts.length >> 1]);
    const again = focused && document.getElementById(focused);
    if (again && again !== document.activeElement) again.focus({ preventScroll: true });
  }

  function say(text, late) {
    if (state.textContent !== text) state.textContent = text;
    state.classList.toggle("late", late);
  }

  // Show the app's message about a wrong filter, until the next answer replaces it.
  function refuse(problem) {
    matches.textContent = [...problem.querySelectorAll("main .message, main .remedy")].map((e) => e.textContent).join(" ");
    matches.classList.add("late");
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
      if (answer.status === 400 && matches) return refuse(fresh);
      if (!answer.ok) throw new Error(`the app answered ${answer.status}`);
      if (own.some(([id, text]) => asset(fresh, id) !== text)) return location.reload(); // another version of the app
      show(fresh);
      say("", false);
    } catch (error) {
      if (mine === latest) say(`Not up to date: ${error.message}. The page tries again.`, true);
    }
    if (mine === latest) wait();
  }

  // A hidden page refreshes once a minute, for its title.
  function wait() {
    clearTimeout(waiting);
    if (seconds) waiting = setTimeout(refresh, 1000 * (document.hidden ? 60 : seconds));
  }

  // Do not refresh while a person selects text, perhaps to copy it; but do so after two minutes.
  function refresh() {
    if (!reading() || Date.now() - asked >= 120_000) return load(location.href);
    say("Paused while text is selected.", false);
    wait();
  }

  function filter() {
    const parameters = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    const address = new URL(form.action);
    address.search = parameters;
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
