// Where a page replaces a part of itself, keep what a reader opened, and how far they scrolled in it. By ids.
let opened = [];
let scrolled = [];
document.addEventListener("htmx:beforeSwap", ({ target }) => {
  opened = [...target.querySelectorAll("details[id][open]")].map(({ id }) => id);
  scrolled = [...target.querySelectorAll("[id][tabindex]")].map(({ id, scrollLeft, scrollTop }) => [id, scrollLeft, scrollTop]);
});
document.addEventListener("htmx:afterSwap", () => {
  opened.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  scrolled.forEach(([id, left, top]) => document.getElementById(id)?.scrollTo(left, top));
});
