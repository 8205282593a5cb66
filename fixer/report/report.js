"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const list = $("list"), form = $("search"), query = $("q");
  const choices = [["f-s", "s"], ["f-h", "h"], ["f-g", "g"], ["f-c", "c"]].map(([id, key]) => [$(id), key]);
  const rows = Array.from(list.children, (item, number) => {
    const summary = item.firstElementChild.firstElementChild;
    const text = (selector) => summary.querySelector(selector).textContent;
    const sort = { name: text("h3"), host: text(".host"), guest: text(".os") };
    const words = `${summary.textContent} ${item.dataset.u}`.toLowerCase();
    return { item, summary, number, sort, words, details: item.firstElementChild };
  });

  // Details of many domains are packed: some of them in a block, which is unpacked when one is opened.
  const packs = new Map();
  const unpack = (number) => {
    if (!packs.has(number)) {
      const bytes = Uint8Array.from(atob($(`p${number}`).textContent), (sign) => sign.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
      packs.set(number, new Response(stream).json());
      if (packs.size > 8) packs.delete(packs.keys().next().value);
    }
    return packs.get(number);
  };
  const fill = async (details) => {
    const body = details.lastElementChild;
    const first = $("p0");
    if (body.hasChildNodes() || !first) return;
    const number = Number(details.id.slice(1)), size = Number(first.dataset.size);
    body.setAttribute("aria-busy", "true");
    try {
      const texts = await unpack(Math.floor(number / size));
      if (!body.hasChildNodes()) body.innerHTML = texts[number % size];
    } catch {
      body.textContent = "This browser can not unpack it: take one that knows DecompressionStream.";
    }
    body.removeAttribute("aria-busy");
  };
  list.addEventListener("toggle", (event) => { if (event.target.open) fill(event.target); }, true);

  const filter = () => {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = choices.map(([field, key]) => [field.value, key]).filter(([value]) => value);
    let count = 0;
    for (const { item, words: text } of rows) {
      const fits = words.every((word) => text.includes(word))
        && wanted.every(([value, key]) => item.dataset[key].split(" ").includes(value));
      item.hidden = !fits;
      count += fits;
    }
    $("count").textContent = count === rows.length ? `${count} domains.` : `${count} of ${rows.length} domains.`;
    $("none").hidden = count > 0;
  };
  const order = () => {
    const key = $("order").value;
    const compare = new Intl.Collator(undefined, { numeric: true }).compare;
    const sorted = rows.slice().sort((a, b) => (key ? compare(a.sort[key], b.sort[key]) : 0) || a.number - b.number);
    list.append(...sorted.map((row) => row.item));
  };
  let waiting = 0;
  query.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  for (const [field] of choices) field.addEventListener("change", filter);
  $("order").addEventListener("change", order);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { filter(); order(); }));

  const visible = () => Array.from(list.children).filter((item) => !item.hidden).map((item) => item.firstElementChild);
  $("open").addEventListener("click", () => { for (const details of visible().slice(0, 100)) details.open = true; });
  $("close").addEventListener("click", () => {
    for (const { details } of rows) if (details.open) details.open = false;
  });

  for (const link of document.querySelectorAll("[data-standing]")) {
    link.addEventListener("click", () => {
      form.reset();
      $("f-s").value = link.dataset.standing;
      setTimeout(filter);
    });
  }

  const beside = (item, step) => {
    let next = item;
    do next = step > 0 ? next.nextElementSibling : next.previousElementSibling; while (next && next.hidden);
    return next && next.firstElementChild.firstElementChild;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const on = event.target;
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(on.tagName)) {
      event.preventDefault();
      query.focus();
      query.select();
    } else if (event.key === "Escape" && form.contains(on)) {
      form.reset();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (on === query || on.tagName === "SUMMARY")) {
      const down = event.key === "ArrowDown";
      const first = visible()[0];
      const next = on === query ? down && first && first.firstElementChild : beside(on.closest("li"), down ? 1 : -1);
      if (next || on === query || !down) event.preventDefault();
      if (next) next.focus();
      else if (!down && on !== query) query.focus();
    }
  });

  // A link into the list opens its domain, whatever is filtered.
  const follow = () => {
    const details = /^#d\d+$/.test(location.hash) && $(location.hash.slice(1));
    if (!details) return;
    if (details.parentElement.hidden) form.reset();
    details.open = true;
    setTimeout(() => { details.scrollIntoView(); details.firstElementChild.focus({ preventScroll: true }); });
  };
  addEventListener("hashchange", follow);

  // On paper nothing can be opened. Of many only what is open is printed: the list would be a book.
  let opened = [];
  addEventListener("beforeprint", () => {
    if ($("p0")) return;
    opened = rows.map((row) => row.details).filter((details) => !details.open && !details.parentElement.hidden);
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of opened) details.open = false; opened = []; });

  form.hidden = false;
  filter();
  follow();
})();
