// Draw each picture from the table beside it, in the theme's colours, and again where either changes.
// Nothing but the table is read, so what is drawn is what it says. Without this the table stands alone.
const LOOKS = {
  solid: { dash: [], point: "circle" },
  stripes: { dash: [7, 4], point: "triangle" },
  dots: { dash: [2, 3], point: "rect" },
  outline: { dash: [10, 3, 2, 3], point: "rectRot" },
  crossed: { dash: [4, 2], point: "crossRot" },
};
const TILE = 8;
const NARROW = 520;
const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);
const number = (value) => value.toLocaleString("en-GB", { maximumFractionDigits: 1 });

// What a name of the palette is in the scheme of now; the palette itself says both.
function colour(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

// A filling that is told from its neighbours without its colour.
function filling(look, ink) {
  if (look === "solid") return ink;
  const tile = document.createElement("canvas");
  tile.width = tile.height = TILE;
  const pen = tile.getContext("2d");
  pen.fillStyle = colour("portal-surface");
  pen.fillRect(0, 0, TILE, TILE);
  pen.fillStyle = pen.strokeStyle = ink;
  pen.lineWidth = 2.5;
  pen.beginPath();
  if (look === "stripes" || look === "crossed") {
    for (const from of [-TILE, 0, TILE]) {
      pen.moveTo(from, TILE);
      pen.lineTo(from + TILE, 0);
      if (look === "crossed") {
        pen.moveTo(from, 0);
        pen.lineTo(from + TILE, TILE);
      }
    }
  } else if (look === "dots") {
    pen.arc(TILE / 2, TILE / 2, 2, 0, 2 * Math.PI);
    pen.fill();
  }
  pen.stroke();
  return pen.createPattern(tile, "repeat");
}

function dataset(head, place, rows) {
  const { kind, look } = head.dataset;
  const ink = colour(head.dataset.colour);
  return {
    type: kind,
    label: head.textContent.trim(),
    data: rows.map((row) => {
      const { value } = row.querySelectorAll("td")[place].dataset;
      // what is nothing has no bar, and what is little one that is seen
      return value === "" || (kind === "bar" && Number(value) === 0) ? null : Number(value);
    }),
    borderColor: ink,
    backgroundColor: kind === "line" ? "transparent" : filling(look, ink),
    pointBackgroundColor: ink,
    borderWidth: kind === "line" ? 2 : 1,
    borderDash: LOOKS[look].dash,
    pointStyle: LOOKS[look].point,
    pointRadius: rows.length > 60 ? 0 : 3,
    stack: kind === "line" ? `line ${place}` : "bars",
    order: kind === "line" ? 0 : 1,
    maxBarThickness: 48,
    minBarLength: 2,
  };
}

function read(figure) {
  const heads = [...figure.querySelectorAll("thead th[data-kind]")];
  const rows = [...figure.querySelectorAll("tbody tr")];
  return {
    labels: rows.map((row) => row.querySelector("th").textContent.trim()),
    datasets: heads.map((head, place) => dataset(head, place, rows)),
  };
}

// Long words below each other, so that they leave room for the bars.
function wrapped(words, most) {
  return words.split(" ").reduce((found, word) => {
    const last = found.at(-1);
    if (last !== undefined && `${last} ${word}`.length <= most) return [...found.slice(0, -1), `${last} ${word}`];
    return [...found, word];
  }, []);
}

function options(figure) {
  const { unit, most } = figure.dataset;
  const isStacked = "stacked" in figure.dataset;
  const lies = "lies" in figure.dataset;
  const words = { color: colour("portal-ink-quiet"), font: { family: getComputedStyle(document.body).fontFamily, size: 12 } };
  const lines = { color: colour("portal-line") };
  const numbers = {
    stacked: isStacked,
    beginAtZero: true,
    grid: lines,
    border: lines,
    max: most ? Number(most) : undefined,
    title: { ...words, display: true, text: unit },
    ticks: { ...words, precision: 0, maxTicksLimit: 6, callback: number },
  };
  const names = {
    stacked: isStacked,
    grid: { display: false },
    border: lines,
    ticks: {
      ...words,
      maxRotation: 0,
      autoSkip: !lies,
      autoSkipPadding: 12,
      callback(place) {
        const word = this.getLabelForValue(place);
        return lies ? wrapped(word, figure.clientWidth < NARROW ? 14 : 40) : word;
      },
    },
  };
  return {
    animation: false,
    maintainAspectRatio: false,
    indexAxis: lies ? "y" : "x",
    interaction: { mode: "index", axis: lies ? "y" : "x", intersect: false },
    scales: lies ? { x: numbers, y: names } : { x: names, y: numbers },
    plugins: {
      legend: { display: figure.querySelectorAll("thead th[data-kind]").length > 1, position: "bottom", labels: { ...words, color: colour("portal-ink"), usePointStyle: false, boxWidth: 28, boxHeight: 10 } },
      tooltip: { callbacks: { label: ({ dataset: of, raw }) => ` ${of.label}: ${raw === null ? "–" : number(raw)} ${unit}` } },
    },
  };
}

function draw(figure) {
  const canvas = figure.querySelector("canvas");
  const drawn = Chart.getChart(canvas);
  if (!drawn) {
    new Chart(canvas, { type: "bar", data: read(figure), options: options(figure) });
    return;
  }
  drawn.data = read(figure);
  drawn.options = options(figure);
  drawn.update("none");
}

const drawAll = () => document.querySelectorAll("figure[data-chart]").forEach(draw);
drawAll();
document.addEventListener("htmx:afterSwap", drawAll);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme", "data-bs-theme"] });
