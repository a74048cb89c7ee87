// A panel as a file. CSV and XLSX come from the server; a PNG is painted here,
// where the fonts are: the chart once more on a canvas, or a table drawn cell by
// cell, between the title and the line that says what it is.
import * as echarts from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import type { Frame, Query } from "./board";
import { date, moment } from "./format";
import { L, lang, pick } from "./i18n";

echarts.use([CanvasRenderer]);

export function fileURL(format: "csv" | "xlsx", title: string, query: Query): string {
  const { refId: _, datasource: __, ...q } = query;
  return "/api/export?" + new URLSearchParams({ format, title, query: JSON.stringify({ ...q, lang }) }).toString();
}

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** One line that says what a picture shows, since it travels without its page. */
function foot(f: Frame): string {
  const m = f.meta;
  if (!m) return L("来源：duiwu", "source: duiwu");
  const parts = [`${m.id} ${pick(m)} ${L(`第 ${m.version} 版`, `version ${m.version}`)}`, L("统计日 ", "day ") + date(m.asOf), L("数据截至 ", "data as of ") + (m.dataAsOf ? moment(m.dataAsOf) : "—"),
    L(`计入 ${m.unitsIncluded.length}/${m.units} 个单位`, `${m.unitsIncluded.length} of ${m.units} units`)];
  if (m.suppressed) parts.push(L(`隐去 ${m.suppressed} 格`, `${m.suppressed} cells hidden`));
  return parts.join(L("；", "; "));
}

function blob(c: HTMLCanvasElement): Promise<Blob> {
  return new Promise((done, fail) => c.toBlob((b) => (b ? done(b) : fail(new Error("no picture"))), "image/png"));
}

/** Paints a card's chart or table under its title, twice as fine as the screen. */
export async function png(card: HTMLElement, title: string, f: Frame): Promise<Blob> {
  const scale = 2, u = 16, width = Math.max(640, card.clientWidth), pad = 1.2 * u;
  const plot = card.querySelector<HTMLElement>(".plot");
  const chart = plot && echarts.getInstanceByDom(plot);
  const table = card.querySelector("table");
  const lines = table ? [...table.rows].map((r) => [...r.cells].map((c) => c.innerText)) : [];
  const height = chart ? plot.clientHeight * (width / plot.clientWidth) : table ? lines.length * 1.7 * u : 6 * u;
  const canvas = document.createElement("canvas");
  canvas.width = width * scale;
  canvas.height = (height + 6.2 * u) * scale;
  const g = canvas.getContext("2d")!;
  g.scale(scale, scale);
  g.fillStyle = css("--card");
  g.fillRect(0, 0, width, canvas.height);
  const say = (text: string, x: number, y: number, size: number, weight: number, color: string, room: number, right = false) => {
    g.font = `${weight} ${size}px ${css("--font")}`;
    g.fillStyle = color;
    let t = text;
    while (t.length > 1 && g.measureText(t).width > room) t = t.slice(0, -2) + "…";
    g.fillText(t, right ? x - g.measureText(t).width : x, y);
  };
  say(title, pad, 2 * u, 1.25 * u, 650, css("--ink"), width - 2 * pad);
  if (f.meta) say(pick(f.meta), pad, 3.4 * u, 0.9 * u, 400, css("--soft"), width - 2 * pad);
  const top = 4.2 * u;
  if (chart) {
    const stage = document.createElement("div");
    Object.assign(stage.style, { position: "fixed", left: "-9999px", width: width + "px", height: height + "px" });
    document.body.append(stage);
    const twin = echarts.init(stage, undefined, { renderer: "canvas", devicePixelRatio: scale });
    try {
      twin.setOption({ ...chart.getOption(), animation: false });
      g.drawImage(await picture(twin.getDataURL({ pixelRatio: scale })), 0, top, width, height);
    } finally {
      twin.dispose();
      stage.remove();
    }
  } else if (table) {
    const n = Math.max(...lines.map((l) => l.length)), first = Math.min(0.3, 2 / n), rest = n > 1 ? (1 - first) / (n - 1) : 1;
    lines.forEach((cells, i) => {
      const y = top + (i + 1.1) * 1.7 * u;
      cells.forEach((text, k) => {
        const cell = table.rows[i].cells[k], x = pad + (width - 2 * pad) * (k ? first + (k - 1) * rest : 0), w = (width - 2 * pad) * (k ? rest : first);
        const back = getComputedStyle(cell).backgroundColor;
        if (i && !/, 0\)$|transparent/.test(back)) { g.fillStyle = back; g.fillRect(x, y - 1.2 * u, w, 1.6 * u); }
        const right = getComputedStyle(cell).textAlign === "right";
        say(text, right ? x + w - 4 : x + 2, y, 0.85 * u, i ? 400 : 600, getComputedStyle(cell).color, w - 4, right);
      });
    });
  } else {
    const stats = [...card.querySelectorAll<HTMLElement>(".stat, .none-yet")];
    stats.forEach((e, i) => say(e.innerText.replace(/\s+/g, " "), pad + (i * (width - 2 * pad)) / stats.length, top + 3 * u, 2.4 * u, 680, css("--accent-ink"), (width - 2 * pad) / stats.length));
  }
  say(foot(f), pad, height + 5.6 * u, 0.78 * u, 400, css("--soft"), width - 2 * pad);
  return blob(canvas);
}

function picture(url: string): Promise<HTMLImageElement> {
  return new Promise((done, fail) => { const i = new Image(); i.onload = () => done(i); i.onerror = () => fail(new Error("no picture")); i.src = url; });
}

export function save(b: Blob, name: string) {
  const a = document.createElement("a");
  a.href = URL.createObjectURL(b);
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10_000);
}
