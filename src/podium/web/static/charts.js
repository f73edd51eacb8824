// Draws <figure data-series> with uPlot. series = {
//   x: [unix seconds] (or {kind: "number"} axes with plain numbers), time: true | false,
//   lines: [{name, values: [number | null], unit?, kind?: "line" | "area" | "bars" | "edge", color?: 1..6, scale?: "y" | "right"}],
//   bands: [[index of the upper line, index of the lower line]],   // filled between two lines, for intervals
//   marks: [{at, text}],                                           // vertical lines
//   min?, max?, unit?
// }. A live block moves a chart with <span data-chart-for="ID" data-series>.

const drawn = new Map();

/** A colour of the style sheet as a canvas understands it: what light-dark() comes to now. */
function colour(name, alpha = 1) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(${name})`;
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g);
  probe.remove();
  return `rgba(${parts.slice(0, 3).join(",")},${alpha})`;
}

function short(value, unit) {
  if (value === null || value === undefined) return "—";
  if (unit === "ms" && Math.abs(value) >= 1000) return short(value / 1000, "s");
  const size = Math.abs(value);
  const text = size >= 1e6 ? `${+(value / 1e6).toPrecision(3)} M` : size >= 1e4 ? `${+(value / 1e3).toPrecision(3)} k`
    : size >= 100 ? value.toFixed(0) : `${+value.toPrecision(3)}`;
  return unit ? `${text} ${unit}` : text;
}

const nameOf = (line, index) => `--c${line.color ?? (index % 6) + 1}`;

function lineOf(line, index) {
  const name = nameOf(line, index);
  const kind = line.kind ?? "line";
  const made = {
    label: line.name, scale: line.scale ?? "y", stroke: colour(name), width: kind === "edge" ? 0 : 1.6,
    // few values are shown as points: a single one, or one between gaps, makes no line
    points: { show: (plot, at) => kind !== "edge" && plot.data[at].filter((value) => value != null).length < 40 }, spanGaps: false,
    value: (_, value) => short(value, line.unit),
  };
  if (kind === "area") made.fill = colour(name, 0.2);
  if (kind === "bars") Object.assign(made, { paths: uPlot.paths.bars({ size: [0.9, 60] }), fill: colour(name, 0.65), points: { show: false } });
  return made;
}

function marks(series) {
  return (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = colour("--muted");
    ctx.setLineDash([4, 4]);
    ctx.font = `${11 * devicePixelRatio}px system-ui`;
    for (const mark of series.marks ?? []) {
      const x = plot.valToPos(mark.at, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
      ctx.fillText(mark.text ?? "", x + 4, bbox.top + 12 * devicePixelRatio);
    }
    ctx.restore();
  };
}

const clock = (long) => new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", ...(long && { second: "2-digit" }), hour12: false });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** Times of the x axis: the day where it changes, else the clock. */
function times(_, splits, _axis, _space, step) {
  const form = clock(step < 60);
  let last = null;
  return splits.map((at) => {
    const date = new Date(at * 1000);
    const today = day.format(date);
    const text = step >= 86400 ? today : last !== null && today !== last ? `${form.format(date)}\n${today}` : form.format(date);
    last = today;
    return text;
  });
}

const timeValue = (_, at) => (at === null || at === undefined ? "" : `${day.format(new Date(at * 1000))} ${clock(true).format(new Date(at * 1000))}`);

/** Without a pointer the legend shows the newest values. */
function newest(plot) {
  const last = plot.data[0].length - 1;
  if (last >= 0 && plot.cursor.idx === null) plot.setLegend({ idx: last }, false);
}

function options(series, width, height) {
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const right = series.lines.some((line) => line.scale === "right");
  const range = (_, low, high) => [series.min ?? Math.min(0, low ?? 0), series.max ?? ((high ?? 0) > 0 ? high * 1.08 : 1)];
  return {
    width, height, series: [{ label: series.time === false ? series.x_name ?? "" : "at", ...(series.time !== false && { value: timeValue }) }, ...series.lines.map(lineOf)],
    bands: (series.bands ?? []).map(([upper, lower]) => ({ series: [upper + 1, lower + 1], fill: colour(nameOf(series.lines[upper], upper), 0.18) })),
    scales: { x: { time: series.time !== false }, y: { range }, ...(right && { right: { range: (_, low, high) => [0, (high ?? 0) > 0 ? high * 1.08 : 1] } }) },
    axes: [{ ...axis, space: 80, size: 34, ...(series.time !== false && { values: times }) }, { ...axis, size: 56, values: (_, values) => values.map((value) => short(value, series.unit)) },
      ...(right ? [{ ...axis, scale: "right", side: 1, grid: { show: false }, size: 56, values: (_, values) => values.map((value) => short(value, series.right_unit)) }] : [])],
    legend: { live: true }, cursor: { points: { size: 6 }, drag: { x: true, y: false } }, padding: [8, 8, 0, 0],
    hooks: { draw: [marks(series)], ready: [newest], setData: [newest] },
  };
}

const dataOf = (series) => [series.x, ...series.lines.map((line) => line.values)];
const shapeOf = (series) => JSON.stringify([series.lines.map((line) => [line.name, line.kind, line.unit]), series.bands, series.marks]);

function draw(figure, series) {
  const known = drawn.get(figure.id);
  if (known && known.figure === figure && known.shape === shapeOf(series)) {
    known.series = series;
    known.plot.setData(dataOf(series));
    return;
  }
  known?.watch.disconnect();
  known?.plot.destroy();
  const place = figure.querySelector(".plot");
  place.replaceChildren();
  const height = Number(figure.dataset.height);
  const plot = new uPlot(options(series, place.clientWidth || 600, height), dataOf(series), place);
  const watch = new ResizeObserver(() => { if (place.clientWidth) plot.setSize({ width: place.clientWidth, height }); });
  watch.observe(place);
  drawn.set(figure.id, { figure, plot, watch, series, shape: shapeOf(series) });
}

export function drawCharts(root) {
  if (!window.uPlot) return;
  const figures = root.matches?.("figure.chart") ? [root] : root.querySelectorAll("figure.chart");
  for (const figure of figures) if (!drawn.has(figure.id) || drawn.get(figure.id).figure !== figure) draw(figure, JSON.parse(figure.dataset.series));
  const moved = root.matches?.("[data-chart-for]") ? [root] : root.querySelectorAll("[data-chart-for]");
  for (const one of moved) {
    const figure = document.getElementById(one.dataset.chartFor);
    if (figure) draw(figure, JSON.parse(one.dataset.series));
  }
}

function again() {
  for (const [id, one] of [...drawn]) { // a copy: what is drawn again is put back
    one.watch.disconnect();
    one.plot.destroy();
    drawn.delete(id);
    if (document.contains(one.figure)) draw(one.figure, one.series);
  }
}

document.addEventListener("podium:theme", again);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
