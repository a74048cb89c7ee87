import { LineChart } from "echarts/charts";
import { AriaComponent, GridComponent, MarkLineComponent, TooltipComponent } from "echarts/components";
import * as echarts from "echarts/core";
import { SVGRenderer } from "echarts/renderers";
import type { Answer, Row } from "./api";
import { figure, month } from "./format";
import { L, pick } from "./i18n";

echarts.use([LineChart, GridComponent, TooltipComponent, MarkLineComponent, AriaComponent, SVGRenderer]);

// The charts of the page, and how each is painted again.
const live = new Map<echarts.ECharts, () => void>();
new ResizeObserver(() => { for (const c of live.keys()) c.resize(); }).observe(document.documentElement);

export const printing = () => document.documentElement.classList.contains("printing");

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

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

export interface Line { name: string; answer: Answer; rows: Row[]; color: string; dashed?: boolean }

/** Draws a chart into an element, and again when the element changes its size. */
export function keepChart(el: HTMLElement, paint: (c: echarts.ECharts) => void) {
  if (!el.isConnected || !el.clientHeight) return;
  el.classList.add("chart");
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

/** Draws months as lines; the newest month, which is not over, is drawn hollow. */
export function lines(el: HTMLElement, series: Line[], opts: { axis?: boolean; target?: { value: number; name: string } | null } = {}) {
  const m = series[0].answer.meta;
  const iso = (t: number) => new Date(t).toISOString().slice(0, 10);
  const x = series[0].rows.map((r) => iso(r.time!));
  el.dataset.indicator = m.id;
  el.dataset.points = JSON.stringify(series[0].rows.map((r) => r.value));
  el.classList.add("chart");
  const draw = () => {
    const u = rem();
    const all = series.flatMap((s) => s.rows.map((r) => r.value)).filter((v): v is number => v !== null);
    const lo = Math.min(...all), hi = Math.max(...all), pad = (hi - lo) * 0.25 || Math.abs(hi) * 0.05 || 1;
    const label = { color: css("--soft"), fontSize: 0.82 * u, fontFamily: css("--font") };
    const c = echarts.getInstanceByDom(el) ?? echarts.init(el, undefined, { renderer: "svg" });
    live.set(c, draw);
    c.setOption({
      animation: false,
      textStyle: { fontFamily: css("--font") },
      aria: { enabled: true, label: { description: `${pick(m)}: ${series[0].rows.map((r) => `${iso(r.time!).slice(0, 7)} ${figure(r.value, m).text}`).join(", ")}` } },
      grid: { left: opts.axis ? 0.3 * u : 0.5 * u, right: opts.axis ? 1.2 * u : 0.6 * u, top: 0.7 * u, bottom: opts.axis ? 0.3 * u : 0.5 * u, containLabel: !!opts.axis },
      tooltip: {
        trigger: "axis", confine: true, backgroundColor: css("--card"), borderColor: css("--line"), borderWidth: 1, padding: [0.5 * u, 0.8 * u],
        textStyle: { color: css("--ink"), fontSize: 0.95 * u, fontFamily: css("--font") },
        valueFormatter: (v: unknown) => (v === null || v === undefined ? L("无", "none") : `${figure(v as number, m).text} ${figure(v as number, m).unit}`),
      },
      xAxis: {
        type: "category", data: x.map((d) => month(d)), boundaryGap: false, show: !!opts.axis,
        axisLine: { lineStyle: { color: css("--line") } }, axisTick: { show: false },
        axisLabel: { ...label, hideOverlap: true, alignMinLabel: "left", alignMaxLabel: "right", interval: (i: number) => i === 0 || i === x.length - 1 || i === 5 },
      },
      yAxis: {
        type: "value", show: !!opts.axis, min: Math.max(0, lo - pad), max: hi + pad, splitNumber: 3, scale: true,
        splitLine: { lineStyle: { color: css("--line") } },
        axisLabel: { ...label, showMinLabel: false, showMaxLabel: false, formatter: (v: number) => figure(v, m).text },
      },
      series: series.map((s, i) => ({
        name: s.name, type: "line", symbolSize: 0.5 * u, showSymbol: true, connectNulls: false, smooth: 0.15,
        lineStyle: { color: css(s.color), width: (s.dashed ? 0.12 : 0.2) * u, type: s.dashed ? "dashed" : "solid" },
        data: s.rows.map((r, k) => ({
          value: r.value, symbol: k === s.rows.length - 1 && i === 0 ? "circle" : "none",
          itemStyle: { color: css("--card"), borderColor: css(s.color), borderWidth: 0.18 * u },
        })),
        markLine: i === 0 && opts.target && opts.target.value >= lo - pad && opts.target.value <= hi + pad ? {
          silent: true, symbol: "none", lineStyle: { color: css("--warm"), type: "dashed" }, label: { ...label, formatter: opts.target.name, position: "insideEndTop" }, data: [{ yAxis: opts.target.value }],
        } : undefined,
      })),
    }, true);
  };
  draw();
  // The scale of the page follows the viewport, and so must the strokes.
  new ResizeObserver(() => { if (el.isConnected) { draw(); echarts.getInstanceByDom(el)?.resize(); } }).observe(el);
}
