import { ask, resource, type Answer, type Query, type Row } from "./api";
import { lines } from "./charts";
import { h } from "./dom";
import { figure, integer, money, month, short, signed } from "./format";
import { href, L, lang, param, pick } from "./i18n";
import type { Context } from "./main";
import { bind, cellText, feedName, unitName } from "./panel";
import { byUnit, card, first, footer, head, modeBar, spark, tiles } from "./parts";

interface Quality { present: boolean; received: number; stored: number; duplicate: number; rejected: number; rules: { id: string; zh: string; en: string; rows: number }[] }

const shown = ["I-01", "I-03", "I-06", "I-09", "I-10", "I-14", "I-24", "I-16", "I-20", "I-40"];
const frames: Record<string, [string, string]> = { G: ["规模", "Size"], S: ["社会化", "Socialised"], P: ["专业化", "Specialised"], V: ["职业化", "Vocational"], Q: ["数据", "Data"] };

/** Where every unit stands on one line, this one marked, the nation as a tick. */
function strip(a: Answer, unit: string, nation: number | null) {
  const values = a.rows.map((r) => r.value).filter((v): v is number => v !== null);
  const lo = Math.min(...values, nation ?? Infinity), hi = Math.max(...values, nation ?? -Infinity);
  const at = (v: number) => `${hi === lo ? 50 : 2 + (96 * (v - lo)) / (hi - lo)}%`;
  const el = h("div", { class: "strip", "aria-hidden": "true" });
  for (const r of a.rows) if (r.value !== null && r.unit !== unit) el.append(h("i", { style: { left: at(r.value) } }));
  if (nation !== null) el.append(h("i", { class: "nation", style: { left: at(nation) } }));
  const mine = a.rows.find((r) => r.unit === unit)?.value;
  if (mine !== null && mine !== undefined) el.append(h("i", { class: "mine", style: { left: at(mine) } }));
  return el;
}

/** D11 省份画像: one unit on one page. */
export async function province({ units, today }: Context) {
  const reporting = units.filter((u) => u.reports);
  const unit = reporting.some((u) => u.code === param("unit")) ? param("unit")! : reporting[0].code;
  const chosen = shown.includes(param("indicator") ?? "") ? param("indicator")! : "I-10";
  const mine = { units: [unit] };
  const queries: Record<string, Query> = {
    trendNation: { indicator: chosen === "I-40" ? "I-10" : chosen, groupBy: ["month"] },
    mode: { indicator: "I-24", groupBy: ["province", "purchase_mode"], filter: mine },
    kinds: { indicator: "I-01", groupBy: ["province", "worker_category"], filter: mine },
    kindsNation: { indicator: "I-01", groupBy: ["worker_category"] },
    tiers: { indicator: "I-16", groupBy: ["province", "training_tier"], filter: mine },
    modeNation: { indicator: "I-24", groupBy: ["purchase_mode"] },
  };
  for (const id of shown) {
    const live = id === "I-40";
    queries[id] = { indicator: id, groupBy: ["province"], compare: ["rank", "national_mean", "target", ...(live ? [] : ["last_year"])] };
    if (!live) queries[id + "m"] = { indicator: id, groupBy: ["province", "month"], filter: mine };
  }
  const [a, quality] = await Promise.all([ask(queries), resource<Quality>("quality?unit=" + unit)]);
  const row = (x: Answer) => byUnit(x).get(unit)!;
  const name = unitName(unit);
  const size = row(a["I-01"]), dense = row(a["I-10"]);

  const choose = h("select", { "aria-label": L("选择单位", "choose a unit"), onchange: (e: Event) => { location.href = href("D11", { unit: (e.target as HTMLSelectElement).value }); } },
    reporting.map((u) => h("option", { value: u.code, selected: u.code === unit }, lang === "zh" ? u.shortZh : unitName(u.code))));
  const which = h("select", { "aria-label": L("选择指标", "choose an indicator"), onchange: (e: Event) => { location.href = href("D11", { unit, indicator: (e.target as HTMLSelectElement).value }); } },
    shown.map((id) => h("option", { value: id, selected: id === chosen }, pick(a[id].meta))));

  const above = dense.value !== null && dense.national_mean != null ? dense.value - dense.national_mean : null;
  const title = size.value === null ? name
    : lang === "zh"
      ? `${name}：${cellText(size, a["I-01"].meta)} 名社工在岗${above === null ? "" : above >= 0 ? "，人手密度高于全国" : "，人手密度低于全国"}`
      : `${name}: ${cellText(size, a["I-01"].meta)} workers in post${above === null ? "" : above >= 0 ? ", more per user than the nation" : ", fewer per user than the nation"}`;

  const meta = a[chosen].meta;
  const map = card("map", L(`${name}在全国的位置`, `${name} among the units`), h("span", {}, which, h("span", { class: "unit" }, ` ${pick(meta.unit)}`)),
    ...tiles(a[chosen], units, { link: (code) => href("D11", { unit: code, indicator: chosen }), chosen: unit }));

  const table = h("table", { class: "profile" },
    h("thead", {}, h("tr", {}, [L("指标", "Indicator"), name, L("全国", "Nation"), L("目标", "Target"), L("较上年", "On last year"), L("位次", "Rank"), L("各单位分布", "All units"), L("近 12 个月", "12 months")]
      .map((t) => h("th", { scope: "col" }, t)))));
  const body = h("tbody");
  let frame = "";
  for (const id of shown) {
    const x = a[id], r = row(x), m = x.meta;
    const f = figure(r.value, m);
    const change = r.value !== null && r.last_year != null ? r.value - r.last_year : null;
    const good = change === null || m.direction === "none" || change === 0 ? "" : (change > 0) === (m.direction === "up") ? "better" : "worse";
    const ranked = x.rows.filter((y) => y.value !== null).length;
    body.append(h("tr", { class: `${id === chosen ? "chosen" : ""} ${m.frame !== frame ? "first" : ""}` },
      h("th", { scope: "row" }, h("small", {}, m.frame !== frame ? L(...frames[m.frame]) : ""), h("a", { href: href("D11", { unit, indicator: id }), "aria-current": id === chosen ? "true" : null }, pick(m))),
      h("td", { class: "main" }, bind(h("span", { class: "cell " + r.state }, h("b", {}, r.state === "suppressed" ? cellText(r, m) : f.text), h("small", {}, f.unit)), x, r)),
      h("td", {}, r.national_mean == null ? "—" : short(r.national_mean, m)),
      h("td", {}, r.target == null ? h("span", { class: "soft" }, "—") : h("span", {}, scopeOf(x) ? short(r.target, m) : L("全国目标", "national"), m.targets[0] && !m.targets[0].verified ? h("em", { class: "unverified" }, L("未经核实", "unverified")) : null)),
      h("td", { class: "delta " + good }, change === null ? "—" : signed(change, m)),
      h("td", {}, r.rank == null ? "—" : h("span", {}, h("b", {}, String(r.rank)), h("small", {}, ` / ${ranked}`))),
      h("td", { class: "wide" }, strip(x, unit, scopeOf(x) ? r.national_mean ?? null : null)),
      h("td", { class: "wide" }, id === "I-40" ? h("span", { class: "soft" }, L("只看当前", "now only")) : spark(a[id + "m"], "mini"))));
    frame = m.frame;
  }
  table.append(body);
  const profile = card("profile-card", L("强在哪里，弱在哪里？", "Where strong, where weak?"), L(`${name}与全国、目标、各单位比较；位次 1 为最好`, `${name} against the nation, targets and all units; rank 1 is best`), table);

  const trendId = chosen === "I-40" ? "I-10" : chosen;
  const trend = h("div", { class: "trend-chart" });
  queueMicrotask(() => {
    const t = a[trendId].meta.targets[0];
    const both = trendId !== "I-01" && trendId !== "I-06" && trendId !== "I-14";
    lines(trend, [
      { name, answer: a[trendId + "m"], rows: a[trendId + "m"].rows, color: "--accent" },
      ...(both ? [{ name: L("全国", "Nation"), answer: a.trendNation, rows: a.trendNation.rows, color: "--soft", dashed: true }] : []),
    ], { axis: true, target: t && both ? { value: t.value, name: L("目标", "target") } : null });
  });
  const over = card("over", L("一年来怎样变化？", "How did it change over the year?"), `${pick(a[trendId].meta)} · ${pick(a[trendId].meta.unit)}${trendId === "I-01" || trendId === "I-06" || trendId === "I-14" ? "" : L("　实线本单位，虚线全国", " · solid: this unit, dashed: nation")}`, trend);

  const amounts = (rows: Row[]) => rows.reduce((s, r) => s + (r.numerator ?? 0), 0);
  const modeLine = (label: string, x: Answer) => h("div", { class: "buyer" }, h("span", {}, label), modeBar(x.rows, x), h("span", { class: "v" }, money(amounts(x.rows))));
  const modeOf = (code: string) => a.mode.rows.find((r) => r.code === code);
  const buy = card("buy", L("服务怎么买？", "How is service bought?"), L("本年购买合同金额", "contracts of this year"),
    h("div", { class: "buyers" }, modeLine(name, a.mode), modeLine(L("全国", "Nation"), a.modeNation)),
    h("p", { class: "keys" }, ["1", "2"].map((c) => {
      const r = modeOf(c);
      return h("span", { class: "key" }, h("i", { class: c === "1" ? "project" : "post" }), c === "1" ? L("购买项目 ", "projects ") : L("购买岗位 ", "posts "),
        r ? bind(h("b", {}, r.value === null ? "—" : `${money(r.numerator ?? 0)} · ${short(r.value, a.mode.meta)}`), a.mode, r) : h("b", {}, "—"));
    })));

  // A bar for each code, of the largest; the tick is the nation's.
  const total = (x: Answer) => x.rows.reduce((t, r) => t + (r.value ?? 0), 0);
  const shareRow = (r: Row, x: Answer, label: string, value: string, part: number, nation: number | null) => h("div", { class: "share-row" },
    h("span", { title: r.codeName }, label), bind(h("b", {}, value), x, r),
    h("span", { class: "track " + (nation === null ? "bare" : ""), style: nation === null ? {} : { "--mean": `${nation}%` } }, h("i", { style: { width: `${Math.min(100, part)}%` } })));
  const kinds = a.kinds.rows.map((r) => {
    const part = r.value === null ? 0 : (100 * r.value) / (total(a.kinds) || 1);
    const n = a.kindsNation.rows.find((x) => x.code === r.code)?.value ?? 0;
    return shareRow(r, a.kinds, kindName[r.code] ? L(...kindName[r.code]) : r.codeName, r.state === "suppressed" ? cellText(r, a.kinds.meta) : L(`${integer(r.value ?? 0)} 人`, integer(r.value ?? 0)), part, (100 * n) / (total(a.kindsNation) || 1));
  });
  const tiers = a.tiers.rows.map((r) => shareRow(r, a.tiers, tierName[r.code] ? L(...tierName[r.code]) : r.codeName, cellText(r, a.tiers.meta) + (r.value === null ? "" : "%"), r.value ?? 0, null));
  const who = card("who-card", L("谁在做这项工作，受过哪一级培训？", "Who works, and who is trained?"), L("人员类别构成（竖线为全国），各层级参训率", "by category (tick: nation), by training tier"),
    h("div", { class: "shares" }, kinds), h("div", { class: "shares" }, tiers));

  const late = [...new Map(shown.flatMap((id) => a[id].meta.unitsMissing).filter((x) => x.unit === unit).map((x) => [x.feed, x])).values()];
  const share = (n: number) => `${quality.received ? (100 * n) / quality.received : 0}%`;
  const counted = (zh: string, en: string, n: number, cls: string) => h("div", { class: "count " + cls }, h("span", {}, h("i", {}), L(zh, en)), h("b", { "data-quality": cls, "data-unit": unit, "data-value": n }, integer(n)));
  const data = card("quality", L("这些数字靠得住吗？", "Can these figures be trusted?"), L("本单位数据的收发对账", "what this unit sent, and what became of it"),
    quality.present && quality.received
      ? h("div", {},
        h("div", { class: "balance", role: "img", "aria-label": L("收到的数据的去向", "what became of the records received") },
          h("i", { class: "stored", style: { width: share(quality.stored) } }), h("i", { class: "duplicate", style: { width: share(quality.duplicate) } }), h("i", { class: "rejected", style: { width: share(quality.rejected) } })),
        h("div", { class: "counts" }, counted("收到", "received", quality.received, "received"), counted("入库", "stored", quality.stored, "stored"), counted("重复", "duplicate", quality.duplicate, "duplicate"), counted("退回", "rejected", quality.rejected, "rejected")),
        h("ul", { class: "rules" }, quality.rules.slice(0, 3).map((x) => h("li", { "data-rule": x.id, "data-value": x.rows }, h("b", {}, integer(x.rows)), h("span", {}, pick(x).replace(lang === "zh" ? "“{field}”" : "{field}", L("该字段", "The field")))))))
      : h("p", { class: "soft" }, L("本单位没有收发记录。", "There is no record of deliveries by this unit.")),
    h("p", { class: late.length ? "note" : "aside" }, late.length
      ? L("未到：", "Late: ") + late.map((x) => L(`${feedName(x.feed)}（应有 ${month(x.expected)}，最近 ${x.last ? month(x.last) : "从未"}）`, `${feedName(x.feed)} (${month(x.expected)} due, last ${x.last ? month(x.last) : "never"})`)).join(L("；", "; "))
      : L("各期数据均已按时到齐。", "Every period due has arrived.")));

  return h("div", { class: "page d11", "data-unit": unit },
    head("D11", L("省份画像", "Unit profile"), title, today, choose),
    h("main", {}, h("div", { class: "col a" }, map, over), h("div", { class: "col b" }, profile), h("div", { class: "col c" }, buy, who, data)),
    footer([a["I-01"].meta, a["I-03"].meta, a["I-14"].meta, a["I-16"].meta, a["I-24"].meta, first(a["I-20"]) ? a["I-20"].meta : a["I-01"].meta], L("计入人员类别 01、02、03", "Categories 01, 02, 03 are counted")));
}

const kindName: Record<string, [string, string]> = {
  "01": ["社会组织聘用", "of organisations"], "02": ["乡镇街道专职", "of townships"], "03": ["购买岗位派驻", "on purchased posts"],
};
const tierName: Record<string, [string, string]> = {
  "1": ["国家级培训", "national training"], "2": ["省级培训", "provincial training"], "3": ["市级培训", "city training"], "4": ["县级培训", "county training"],
};

// A number of persons set for the nation is no target of one province; a ratio is.
const scopeOf = (a: Answer) => a.meta.format.kind !== "integer";
