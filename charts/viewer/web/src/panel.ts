import type { Provenance, Unit } from "./api";
import { h } from "./dom";
import { date, figure, integer, moment, month } from "./format";
import { L, lang, pick } from "./i18n";

let units = new Map<string, Unit>();
export function setUnits(list: Unit[]) { units = new Map(list.map((u) => [u.code, u])); }
export const unitName = (code: string) => {
  const u = units.get(code);
  return !u ? L("全国", "Nation") : lang === "zh" ? u.shortZh : u.en;
};

/** One figure as a page shows it, with where it comes from. */
export interface Shown {
  meta: Provenance; sql: string; unit: string; code: string; codeName: string;
  value: number | null; state: "" | "late" | "none" | "suppressed" | "protected";
}

/** What a figure says: its digits, or why it has none. */
function said(x: Shown): { text: string; unit: string } {
  if (x.state === "protected") return { text: "—", unit: "" };
  if (x.state === "suppressed") return { text: x.meta.format.kind === "integer" ? `<${x.meta.suppressBelow}` : "—", unit: "" };
  return figure(x.value, x.meta);
}

const whose = (x: Shown) => `${unitName(x.unit)}${x.codeName ? " · " + x.codeName : ""} · ${pick(x.meta)}`;

const stateText: Record<string, [string, string]> = {
  late: ["本期未到，显示最近一次的数值", "this period has not arrived; last value shown"],
  none: ["尚无数值", "no value yet"],
  suppressed: ["人数过少，依规不显示", "too few persons, not shown"],
  protected: ["为防止推算出人数过少的单元，一并不显示", "not shown, since a cell of too few persons could be computed with it"],
};

let tip: HTMLElement;

function showTip(e: HTMLElement) {
  const text = (e as HTMLElement & { tip?: () => Node[] }).tip;
  if (!text) return;
  tip.replaceChildren(...text());
  tip.hidden = false;
  const r = e.getBoundingClientRect(), t = tip.getBoundingClientRect();
  const gap = 6;
  let top = r.bottom + gap;
  if (top + t.height > innerHeight - gap) top = Math.max(gap, r.top - t.height - gap);
  tip.style.top = `${top}px`;
  tip.style.left = `${Math.min(Math.max(gap, r.left + r.width / 2 - t.width / 2), innerWidth - t.width - gap)}px`;
}

export function setupTips() {
  tip = h("div", { id: "tip", role: "tooltip", hidden: true });
  document.body.append(tip);
  const on = (e: Event) => {
    const f = (e.target as Element).closest?.<HTMLElement>("[data-indicator]");
    if (f) showTip(f); else tip.hidden = true;
  };
  document.addEventListener("mouseover", on);
  document.addEventListener("focusin", on);
  document.addEventListener("focusout", () => { tip.hidden = true; });
  document.addEventListener("keydown", (e) => { if (e.key === "Escape") tip.hidden = true; });
}

/**
 * Makes an element into a figure: its raw value stands in data attributes, its
 * definition shows on hover and focus, and a click tells where it comes from.
 */
export function bind(e: HTMLElement, x: Shown): HTMLElement {
  const m = x.meta;
  e.dataset.indicator = m.id;
  e.dataset.unit = x.unit || "000000";
  e.dataset.value = x.value === null ? "" : String(x.value);
  if (x.state) e.dataset.state = x.state;
  if (x.code) e.dataset.code = x.code;
  const f = said(x);
  e.setAttribute("aria-label", `${whose(x)} ${f.text} ${f.unit}` + (x.state ? `（${L(...stateText[x.state])}）` : ""));
  (e as HTMLElement & { tip?: () => Node[] }).tip = () => [
    h("b", {}, whose(x)),
    h("span", { class: "tip-value" }, `${f.text} ${f.unit}`),
    x.state ? h("span", { class: "tip-state" }, L(...stateText[x.state])) : "",
    h("span", {}, pick(m.definition)),
    h("span", { class: "tip-foot" }, L(`${m.id} 第 ${m.version} 版 · ${m.provisional ? "暂行" : "已批准"}`, `${m.id} version ${m.version} · ${m.provisional ? "provisional" : "approved"}`)),
  ].filter((n) => n !== "") as Node[];
  e.tabIndex = 0;
  e.setAttribute("role", "button");
  e.addEventListener("click", () => open(x));
  e.addEventListener("keydown", (k) => {
    if (k.key === "Enter" || k.key === " ") { k.preventDefault(); open(x); }
  });
  return e;
}

const feedNames = new Map<string, string>();
const feedName = (feed: string) => feedNames.get(feed) ?? feed;
export function setFeeds(list: { feed: string; zh: string; en: string }[]) { for (const f of list) feedNames.set(f.feed, pick(f)); }

/** The panel «这个数字从哪里来». */
export function open(x: Shown) {
  tip.hidden = true;
  const m = x.meta;
  const f = said(x);
  const line = (zh: string, en: string, ...v: (Node | string | null)[]) => [h("dt", {}, L(zh, en)), h("dd", {}, ...v)];
  const late = m.unitsMissing;
  const d = h("dialog", { class: "source", "aria-labelledby": "source-title" },
    h("header", {},
      h("h2", { id: "source-title", tabindex: "-1", autofocus: true }, L("这个数字从哪里来", "Where this figure comes from")),
      h("button", { class: "plain", "aria-label": L("关闭", "close"), onclick: () => (d as HTMLDialogElement).close() }, "✕")),
    h("p", { class: "source-figure" }, h("span", {}, whose(x)), x.value !== null || x.state ? [h("strong", {}, f.text), h("small", {}, f.unit)] : null),
    x.state ? h("p", { class: "note" }, L(...stateText[x.state])) : null,
    h("dl", {},
      line("定义", "Definition", pick(m.definition)),
      line("公式", "Formula", m.denominator.zh ? `${pick(m.numerator)} ÷ ${pick(m.denominator)}` : pick(m.numerator)),
      line("定义版本", "Definition", L(`${m.id} 第 ${m.version} 版，自 ${date(m.validFrom)} 起用；${m.provisional ? "暂行，待主管部门确认" : "已批准"}`,
        `${m.id} version ${m.version}, valid from ${date(m.validFrom)}; ${m.provisional ? "provisional, to be confirmed by the office" : "approved"}`)),
      m.categories.length ? line("计入类别", "Categories", m.categories.map((c, i) => `${c} ${(lang === "zh" ? m.categoryZh : m.categoryEn)?.[i] ?? ""}`).join(lang === "zh" ? "；" : "; ")) : [],
      line("统计日", "As of", date(m.asOf)),
      line("数据截至", "Data as of", m.dataAsOf ? moment(m.dataAsOf) + L("（最近一条记录的报送时间）", " (reporting time of the newest record)") : "—"),
      line("流水位置", "Ledger", m.ledger ? L(`${m.ledger.topics} 个通道，累计 ${integer(m.ledger.offset)} 条消息，写入于 ${moment(m.ledger.arrivedAt)}`,
        `${m.ledger.topics} topics, ${integer(m.ledger.offset)} messages, stored ${moment(m.ledger.arrivedAt)}`) : L("没有流水记录", "no ledger")),
      line("来源记录", "Source rows", L(`${integer(m.sourceRows)} 行，取自 ${m.feeds.map(feedName).join("、")}`, `${integer(m.sourceRows)} rows of ${m.feeds.map(feedName).join(", ")}`)),
      line("计入单位", "Units included", L(`${m.units} 个报送单位中的 ${m.unitsIncluded.length} 个`, `${m.unitsIncluded.length} of ${m.units} reporting units`)),
      line("未到单位", "Units missing", late.length ? m.unitsMissing.map((v) => L(`${unitName(v.unit)}（${feedName(v.feed)}，应有 ${month(v.expected)}，最近 ${v.last ? month(v.last) : "从未"}）`,
        `${unitName(v.unit)} (${feedName(v.feed)}: ${month(v.expected)} due, last ${v.last ? month(v.last) : "never"})`)).join(lang === "zh" ? "；" : "; ") : L("无", "none")),
      line("隐去单元", "Hidden cells", m.suppressed ? integer(m.suppressed) : L("无", "none")),
      m.targets.length ? line("目标", "Target", m.targets.map((t) => L(`${t.id}：${t.value.toLocaleString("en")} ${t.unit.zh}；依据：${t.source.zh}；${t.status.zh}`, `${t.id}: ${t.value.toLocaleString("en")} (${t.unit.en}); ${t.source.en}; ${t.status.en}`)).join(lang === "zh" ? "。" : ". ")) : [],
      line("计算", "Computed", `${moment(m.computedAt)} · ${Math.round(m.tookMs)} ms`)),
    h("details", {}, h("summary", {}, L("执行的查询", "The query that ran")), h("pre", { tabindex: "0" }, x.sql)));
  d.addEventListener("close", () => d.remove());
  d.addEventListener("click", (e) => { if (e.target === d) (d as HTMLDialogElement).close(); });
  document.body.append(d);
  (d as HTMLDialogElement).showModal();
}
