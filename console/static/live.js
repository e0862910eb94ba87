// Keeps a page fresh without loading it anew: fetches the same page and puts its #live in place. Everything works without it.
"use strict";
(() => {
  const every = 4000;
  const busy = () => document.hidden || document.querySelector("#live form:focus-within, #live .scroll:focus-within") !== null;
  const refresh = async () => {
    if (busy()) return;
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (answer.redirected) {
      location.assign(answer.url);
      return;
    }
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    const old = document.getElementById("live");
    if (!fresh || !old || busy()) return;
    const focused = document.activeElement;
    const inside = focused && old.contains(focused) ? focused.getAttribute("href") : null;
    const scrolled = [...old.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
    old.replaceWith(fresh);
    fresh.querySelectorAll(".scroll").forEach((each, i) => { each.scrollLeft = scrolled[i] || 0; });
    if (inside) {
      const again = [...fresh.querySelectorAll("a")].find((link) => link.getAttribute("href") === inside);
      if (again) again.focus({ preventScroll: true });
    }
  };
  const turn = () => refresh().catch(() => {}).finally(() => setTimeout(turn, every));
  setTimeout(turn, every);
})();
