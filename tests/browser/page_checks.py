"""Scripts that look at a page as a whole, for what no single test would notice. Each returns JSON."""

from __future__ import annotations

# Every text and the ratio of its brightness to that of its ground: WCAG 2.2, 1.4.3.
CONTRAST = """
const channel = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return {r, g, b, a}; };
const light = c => .2126 * channel(c.r) + .7152 * channel(c.g) + .0722 * channel(c.b);
const ground = each => {
  for (let at = each; at; at = at.parentElement) {
    const found = parse(getComputedStyle(at).backgroundColor);
    if (found.a > 0) return found;
  }
  return {r: 255, g: 255, b: 255, a: 1};
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const faint = [];
let texts = 0;
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim(), each = walker.currentNode.parentElement;
  if (!text || each.closest(".unseen, .skip, script, noscript, option")) continue;
  const style = getComputedStyle(each);
  const [a, b] = [light(parse(style.color)), light(ground(each))];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
  texts += 1;
  if (ratio < (large ? 3 : 4.5)) faint.push([text.slice(0, 40), ratio.toFixed(2)]);
}
return JSON.stringify({texts, faint});
"""
# What a screen reader relies on; the faults in words.
STRUCTURE = """
const faults = [];
const need = (good, words) => { if (!good) faults.push(words); };
need(document.documentElement.lang === "en", "no language");
need(document.title.includes("Listwire"), "no title");
need(document.querySelectorAll("main").length === 1, "not one main");
need(document.querySelectorAll("h1").length === 1, "not one h1");
let level = 0;
for (const each of document.querySelectorAll("h1, h2, h3, h4")) {
  const its = Number(each.tagName[1]);
  need(its <= level + 1, "a level is left out before " + each.textContent);
  level = its;
}
for (const each of document.querySelectorAll("table")) {
  need(each.caption, "a table without caption");
  need(each.querySelectorAll("thead th[scope=col]").length, "a table without headers");
}
for (const each of document.querySelectorAll("input:not([type=hidden]), select"))
  need(each.labels.length, "a field without label: " + each.name);
for (const each of document.querySelectorAll("svg"))
  need(each.getAttribute("aria-hidden") === "true" || each.getAttribute("aria-label"), "a picture without words");
for (const each of document.querySelectorAll("a, button"))
  need(each.textContent.trim(), "a link or button without words");
for (const each of document.querySelectorAll(".status"))
  need(each.querySelector(".mark") && each.textContent.trim(), "a status by colour alone");
const ids = [...document.querySelectorAll("[id]")].map(each => each.id);
need(new Set(ids).size === ids.length, "an id twice");
for (const each of document.querySelectorAll("[aria-labelledby], [aria-describedby]"))
  need(document.getElementById(each.getAttribute("aria-labelledby") || each.getAttribute("aria-describedby")), "a label that is not there");
return JSON.stringify(faults);
"""
