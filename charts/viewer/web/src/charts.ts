// Lines, bars and curves of a dashboard's frames.
import { BarChart, LineChart } from "echarts/charts";
import { AriaComponent, GridComponent, LegendComponent, MarkLineComponent, TooltipComponent } from "echarts/components";
import * as echarts from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import { full, number, scaled, type Field, type Frame } from "./board";
import { month } from "./format";

echarts.use([BarChart, LineChart, GridComponent, LegendComponent, TooltipComponent, MarkLineComponent, AriaComponent, SVGRenderer]);

// The charts of the page, and how each is painted again.
const live = new Map<echarts.ECharts, () => void>();
new ResizeObserver(() => { for (const c of live.keys()) c.resize(); }).observe(document.documentElement);

const printing = () => document.documentElement.classList.contains("printing");

// Paper has another width, no dark, and often no colour. The browser asks for
// the page at once, so that the charts are painted before the event returns.
let worn = "";
addEventListener("beforeprint", () => {
  const root = document.documentElement;
  worn = root.dataset.theme ?? "light";
  root.dataset.theme = "light";
  root.classList.add("printing");
  repaint();
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("printing");
  document.documentElement.dataset.theme = worn;
  repaint();
});

function repaint() { for (const [c, paint] of live) { c.resize(); paint(); c.getZr().flush(); } }

export function dropCharts() { for (const c of live.keys()) c.dispose(); live.clear(); }

/** Draws a chart into an element, and again when the element changes its size. */
function keep(el: HTMLElement, paint: (c: echarts.ECharts) => void) {
  if (!el.isConnected || !el.clientHeight) return;
  const c = echarts.getInstanceByDom(el) ?? echarts.init(el, undefined, { renderer: "svg" });
  live.set(c, () => paint(c));
  paint(c);
  let width = el.clientWidth;
  new ResizeObserver(() => {
    if (!el.isConnected || el.clientWidth === width) return;
    width = el.clientWidth;
    c.resize();
    paint(c);
  }).observe(el);
}

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// Told apart by lightness as well as by hue, and not red against green.
const palette = () => [document.documentElement.dataset.theme === "dark" ? "#5b9fdd" : "#2b6cb0", "#e0a458", "#5aa6a0", "#8a5cb8", "#b3590b", "#7a8aa0", "#c06a8f", "#4c8f4a"];
const iso = (t: number) => new Date(t).toISOString().slice(0, 10);
// Times are Beijing's wherever the reader sits.
const clock = (t: number) => new Date(t + 8 * 3600e3).toISOString().slice(11, 16);
const size = () => parseFloat(getComputedStyle(document.body).fontSize);

/** Every name of a legend is seen: what finds no room in a line begins another. */
function legendOf(names: string[], width: number, u: number) {
  const long = (s: string) => 0.85 * u * [...s].reduce((n, c) => n + (c > "\u2e80" ? 1 : 0.56), 0);
  let lines = 1, at = 0;
  for (const n of names) {
    const w = Math.min(long(n), width - 3 * u) + 2.2 * u;
    if (at && at + w > width) { lines++; at = 0; }
    at += w;
  }
  return Math.min(lines, 4);
}

function frame(el: HTMLElement, names: string[] = []) {
  const u = size();
  const lines = names.length ? legendOf(names, el.clientWidth, u) : 0;
  const label = { color: css("--soft"), fontSize: 0.85 * u, fontFamily: css("--font") };
  return {
    u, label,
    base: {
      animation: false, color: palette(), textStyle: { fontFamily: css("--font") },
      grid: { left: 0.4 * u, right: 1.4 * u, top: 1 * u, bottom: lines ? (0.9 + 1.5 * lines) * u : 0.4 * u, containLabel: true },
      legend: lines ? { bottom: 0, type: (lines < 4 ? "plain" : "scroll") as "plain", textStyle: { ...label, width: el.clientWidth - 3 * u, overflow: "truncate" as const }, itemWidth: 1.2 * u, itemHeight: 0.7 * u, itemGap: 0.7 * u, pageTextStyle: label } : undefined,
    },
    tip: { confine: true, backgroundColor: css("--card"), borderColor: css("--line"), borderWidth: 1, textStyle: { color: css("--ink"), fontSize: 0.9 * u, fontFamily: css("--font") } },
    axis: { axisLine: { lineStyle: { color: css("--line") } }, axisTick: { show: false }, axisLabel: label },
    value: { splitLine: { lineStyle: { color: css("--line") } }, axisLabel: label },
  };
}

// In grey, lines are told apart by their strokes and marks.
const strokes = ["solid", "dashed", "dotted", [10, 4, 2, 4], [4, 2], [12, 3], [2, 6], [6, 2, 2, 2]] as const;
const marks = ["circle", "rect", "triangle", "diamond", "roundRect", "arrow", "pin", "emptyCircle"];

const describe = (fields: Field[], at: (i: number) => string) =>
  fields.slice(0, 6).map((x) => `${x.title}: ${x.values.map((v, i) => `${at(i)} ${v === null ? "—" : number(v as number, x)}`).join(", ")}`).join("; ");

/** Months as lines; small is the mark below a big number. */
export function series(el: HTMLElement, times: number[], all: Field[], opts: { legend?: boolean; small?: boolean } = {}) {
  // A line without a point is only a word in the legend.
  const fields = all.filter((f, i) => i === 0 || f.values.some((v) => typeof v === "number"));
  keep(el, (c) => {
    const { u, base, tip, axis, value } = frame(el, opts.legend && !opts.small ? fields.map((f) => f.title) : []);
    // Minutes of a day, or months.
    const minutes = times.length > 1 && times[times.length - 1] - times[0] < 2 * 86400e3;
    const x = times.map(minutes ? clock : iso);
    const target = fields.length === 1 ? fields[0].target : undefined;
    const seen = fields.flatMap((f) => f.values).filter((v): v is number => typeof v === "number");
    const lo = Math.min(...seen), hi = Math.max(...seen);
    // Four steps of the figure's own places are the least that an axis spans: what
    // the figure does not say must not look like a rise or a fall.
    const step = 10 ** -(fields[0].decimals ?? 0), pad = Math.max((hi - lo) * 0.2, 2 * step - (hi - lo) / 2);
    const places = Math.max(0, Math.min(fields[0].decimals ?? 0, Math.ceil(-Math.log10((hi - lo + 2 * pad) / 4))));
    const bottom = lo >= 0 ? Math.max(0, lo - pad) : lo - pad;
    c.setOption({
      ...base, ...(opts.small ? { grid: { left: 2, right: 2, top: 4, bottom: 2 } } : {}),
      aria: { enabled: true, label: { description: describe(fields, (i) => x[i].slice(0, 7)) } },
      tooltip: opts.small ? undefined : { ...tip, trigger: "axis", valueFormatter: (v: unknown) => (typeof v === "number" ? full(v, fields[0]) : "—") },
      xAxis: { ...axis, type: "category", data: minutes ? x : x.map(month), boundaryGap: false, show: !opts.small, axisLabel: { ...axis.axisLabel, formatter: (v: string, i: number) => (minutes || i === 0 || x[i].slice(5, 7) === "01" ? v : v.replace(/^\d+年| \d+$/, "")), hideOverlap: true, alignMinLabel: "left", alignMaxLabel: "right" } },
      yAxis: { ...value, type: "value", show: !opts.small, min: bottom, max: Math.max(hi + pad, bottom + 4 * step), splitNumber: 4, minInterval: step, axisLabel: { ...value.axisLabel, showMinLabel: false, showMaxLabel: false, formatter: (v: number) => number(v, { ...fields[0], decimals: places }) } },
      series: fields.map((f, i) => ({
        name: f.title, type: "line", data: f.values as number[], showSymbol: printing() && fields.length > 1, symbol: marks[i % marks.length], symbolSize: 0.5 * u, connectNulls: false,
        lineStyle: { width: (opts.small ? 0.13 : 0.16) * u, type: f.labels.compare ? "dashed" : printing() ? (strokes[i % strokes.length] as "solid") : "solid" }, areaStyle: opts.small ? { opacity: 0.12 } : undefined,
        markLine: i === 0 && target !== undefined && !opts.small && target >= bottom && target <= hi + pad ? { silent: true, symbol: "none", lineStyle: { color: css("--warm"), type: "dashed" }, label: { show: false }, data: [{ yAxis: target }] } : undefined,
      })),
    }, true);
  });
}

/** Bars by the first text of a frame; a click on a province leads to it. */
export function bars(el: HTMLElement, f: Frame, opts: { horizontal: boolean; stacked: boolean; legend: boolean; link: (row: number) => string | null; hidden: (x: Field) => boolean }) {
  const text = (n: string) => f.fields.find((x) => x.name === n)?.values as string[] | undefined;
  const labels = text("unit_name") ?? (f.fields.find((x) => typeof x.values[0] === "string")?.values as string[]) ?? [];
  // A word that finds no room would be broken within.
  const word = Math.max(0, ...labels.flatMap((s) => s.split(" ")).map((w) => [...w].reduce((n, c) => n + (c > "\u00ff" ? 1 : 0.58), 0)));
  const many = labels.length > 14;
  const rotated = !opts.horizontal && (many || word * 0.85 * parseFloat(getComputedStyle(el).fontSize) > el.clientWidth / (labels.length + 1));
  el.classList.toggle("many", !opts.horizontal && many); // on a phone it scrolls
  const fields = f.fields.filter((x) => x.name !== "time" && !opts.hidden(x) && x.values.some((v) => typeof v === "number"));
  keep(el, (c) => {
    const { u, base, tip, axis, value, label } = frame(el, opts.legend ? fields.map((x) => x.title) : []);
    const names = { ...axis, type: "category" as const, data: labels, inverse: opts.horizontal, axisLabel: { ...axis.axisLabel, interval: 0, rotate: rotated ? 50 : 0, ...(opts.horizontal ? { width: 0.36 * el.clientWidth, overflow: "break" as const } : rotated ? { width: 8 * u, overflow: "truncate" as const } : { width: Math.max(4 * u, el.clientWidth / (labels.length + 1)), overflow: "break" as const }) } };
    const whole = fields[0]?.unit === "percent" && Math.max(...fields[0].values.map((v) => (v as number) ?? 0)) > 80 && !opts.stacked;
    // All bars have one scale, and the axis its round numbers.
    const all = { ...fields[0], values: fields.flatMap((x) => x.values) };
    const amounts = { ...value, type: "value" as const, splitNumber: whole ? 5 : 4, ...(whole ? { max: 100 } : {}), axisLabel: { ...value.axisLabel, hideOverlap: true } };
    // Each bar says its figure: without it none looks like zero. Where bars stand
    // close it is written upwards.
    const valued = !opts.stacked && fields.length === 1, letters = (many ? 0.75 : 0.85) * u;
    const said = (n: unknown) => (typeof n === "number" ? number(n, all) : "—");
    const widest = valued ? Math.max(...fields[0].values.map((n) => said(n).length)) * 0.6 * letters : 0;
    const upright = valued && !opts.horizontal && widest > (el.clientWidth - 4 * u) / labels.length;
    if (upright) base.grid.top = widest + 0.6 * u;
    const nothing = { value: 0, label: { rotate: 0, align: opts.horizontal ? "left" as const : "center" as const } };
    c.setOption({
      ...base, aria: { enabled: true, decal: { show: printing() && fields.length > 1 }, label: { description: describe(fields, (i) => labels[i]) } },
      tooltip: { ...tip, trigger: "axis", axisPointer: { type: "shadow" }, valueFormatter: (v: unknown, i: number) => (typeof v === "number" && (!valued || typeof fields[0].values[i] === "number") ? full(v / scaled(1, all), all) : "—") },
      xAxis: opts.horizontal ? amounts : names, yAxis: opts.horizontal ? names : amounts,
      series: fields.map((x) => ({
        name: x.title, type: "bar", data: x.values.map((v) => (typeof v === "number" ? scaled(v, all) : valued ? nothing : null)), stack: opts.stacked ? "all" : undefined, barMaxWidth: 3 * u, itemStyle: { borderRadius: opts.stacked ? 0 : 2 },
        label: { show: valued, position: opts.horizontal ? "right" : "top", ...label, rotate: upright ? 90 : 0, align: upright || opts.horizontal ? "left" as const : "center" as const, verticalAlign: upright || opts.horizontal ? "middle" as const : "bottom" as const, color: css("--ink"), fontSize: letters, formatter: (v: { dataIndex: number }) => said(x.values[v.dataIndex]) },
      })),
      ...(opts.horizontal ? { grid: { ...base.grid, right: 5 * u } } : {}),
    }, true);
    c.off("click");
    c.on("click", (e: { dataIndex: number }) => { const to = opts.link(e.dataIndex); if (to) location.href = to; });
  });
}

/** The Lorenz curve and the diagonal of perfect evenness. */
export function curve(el: HTMLElement, f: Frame) {
  const [x, y, even] = f.fields;
  const who = (f.fields.find((v) => v.name === "unit_name")?.values ?? []) as string[];
  keep(el, (c) => {
    const { u, base, tip, axis, value, label } = frame(el, [y.title, even.title]);
    const scale = { min: 0, max: 100, interval: 20, type: "value" as const, nameTextStyle: label, nameLocation: "middle" as const };
    const percent = { ...label, formatter: (v: number) => `${v}%` };
    c.setOption({
      ...base, grid: { ...base.grid, left: 2 * u, bottom: 4.4 * u },
      aria: { enabled: true, label: { description: describe([y], (i) => `${who[i]} ${number(x.values[i] as number, x)}%`) } },
      tooltip: { ...tip, trigger: "axis", formatter: (all: { dataIndex: number; seriesIndex: number; data: number[] }[]) => { const p = all.find((v) => v.seriesIndex === 0) ?? all[0]; return `${who[p.dataIndex] ?? ""}<br>${x.title} ${number(p.data[0], x)}%<br>${y.title} ${number(y.values[p.dataIndex] as number, y)}%`; } },
      xAxis: { ...axis, ...scale, name: x.title, nameGap: 1.8 * u, splitLine: { show: false }, axisLabel: percent }, yAxis: { ...value, ...scale, axisLabel: percent },
      series: [
        { name: y.title, type: "line", data: x.values.map((v, i) => [v, y.values[i]]), symbolSize: 5, areaStyle: { opacity: 0.12 } },
        { name: even.title, type: "line", data: x.values.map((v, i) => [v, even.values[i]]), showSymbol: false, lineStyle: { type: "dashed", width: 1.5 } },
      ],
    }, true);
  });
}
