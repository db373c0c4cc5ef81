// Drag over the picture of a week, from the first slot to the last. Clicks and the form beneath do the same without this.
let table = null;
let begun = null;
let ended = null;

const cells = () => [...table.querySelectorAll("[data-first]")];
const cellAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-heat] [data-first]");
const isEarlier = (one, other) => one.dataset.first < other.dataset.first;
const ends = () => (isEarlier(ended, begun) ? [ended, begun] : [begun, ended]);
const within = (cell) => {
  const [first, last] = ends();
  return !isEarlier(cell, first) && !isEarlier(last, cell);
};

function show() {
  let room = 0;
  for (const cell of cells()) {
    const is = within(cell);
    cell.classList.toggle("in-range", is);
    if (is) room += Number(cell.dataset.room);
  }
  const at = (cell) => cell.getAttribute("aria-label").split(":").slice(0, 2).join(":");
  const [first, last] = ends().map(at);
  document.querySelector("[data-range-words]").textContent = `From ${first} to ${last}: room for ${room.toLocaleString("en-GB")}.`;
}

function stop() {
  table?.querySelectorAll(".in-range").forEach((cell) => cell.classList.remove("in-range"));
  table = begun = ended = null;
}

document.addEventListener("pointerdown", (event) => {
  const cell = cellAt(event);
  // a finger scrolls the table
  if (!cell || event.button !== 0 || event.pointerType === "touch") return;
  table = cell.closest("[data-heat]");
  begun = ended = cell;
});
document.addEventListener("pointermove", (event) => {
  const cell = begun && cellAt(event);
  if (!cell || cell === ended || !table.contains(cell)) return;
  ended = cell;
  show();
});
document.addEventListener("pointerup", () => {
  if (begun && begun !== ended) {
    const [first, last] = ends();
    const asked = new URLSearchParams({ start: first.dataset.first, last: last.dataset.last });
    window.location.assign(`${table.dataset.range}&${asked}`);
  }
  stop();
});
document.addEventListener("pointercancel", stop);
document.addEventListener("keydown", (event) => event.key === "Escape" && stop());
// a link would be dragged away as a link
document.addEventListener("dragstart", (event) => event.target.closest?.("[data-heat]") && event.preventDefault());
