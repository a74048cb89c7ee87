import { ask } from "./api";
import { h } from "./dom";
import { figure, fixed, integer, money, month, short } from "./format";
import { href, L, lang, pick, theme } from "./i18n";
import type { Context } from "./main";
import { bind, unitName } from "./panel";
import { big, byUnit, card, delta, first, footer, head, mark, modeBar, ranking, spark, tiles } from "./parts";

const months = ["month"], province = ["province"];
const since = ["previous_month", "last_year"];

/** D01 全国总览: where does the force stand today? */
export async function national({ units, today }: Context) {
  const a = await ask({
    size: { indicator: "I-01", compare: [...since, "target"] }, sizeByMonth: { indicator: "I-01", groupBy: months },
    load: { indicator: "I-03", compare: ["previous_month", "target"] }, loadByMonth: { indicator: "I-03", groupBy: months },
    gap: { indicator: "I-06", compare: since }, gapByUnit: { indicator: "I-06", groupBy: province },
    dense: { indicator: "I-10" }, denseByUnit: { indicator: "I-10", groupBy: province, compare: ["rank"] },
    residents: { indicator: "I-09", compare: ["last_year"] },
    orgs: { indicator: "I-14", compare: since }, orgsByMonth: { indicator: "I-14", groupBy: months },
    mode: { indicator: "I-24", groupBy: ["purchase_mode"] }, modeByUnit: { indicator: "I-24", groupBy: [...province, "purchase_mode"] },
    trained: { indicator: "I-16", compare: since }, trainedByMonth: { indicator: "I-16", groupBy: months },
    certified: { indicator: "I-20", compare: since }, certifiedByMonth: { indicator: "I-20", groupBy: months },
    fresh: { indicator: "I-40" }, freshByUnit: { indicator: "I-40", groupBy: province },
  });
  const size = first(a.size), load = first(a.load), gap = first(a.gap), residents = first(a.residents);
  const target = a.size.meta.targets[0];
  const done = size.value !== null && target ? (100 * size.value) / target.value : null;
  const ratio = a.load.meta.targets[0];
  const worst = a.gapByUnit.rows.filter((r) => r.value).sort((x, y) => y.value! - x.value!).slice(0, 3);
  const toUnit = (code: string) => href("D11", { unit: code });
  const unverified = (t: typeof target) => (t && !t.verified ? h("em", { class: "unverified" }, L("未经核实", "unverified")) : null);

  const title = lang === "zh"
    ? `${integer(size.value ?? 0)} 名禁毒社工在岗，${load.value === null ? "" : `平均每人面对 ${figure(load.value, a.load.meta).text} 名现有吸毒人员`}`
    : `${integer(size.value ?? 0)} anti-drug social workers in post${load.value === null ? "" : `, each facing ${figure(load.value, a.load.meta).text} registered users`}`;

  const hero = card("hero", L("队伍有多大？", "How large is the force?"), pick(a.size.meta),
    big(a.size, size, "huge"),
    h("p", { class: "deltas" }, delta(a.size, size, size.previous_month, "较上月末", "on last month"), delta(a.size, size, size.last_year, "较上年同期", "on last year")),
    spark(a.sizeByMonth, "trend", true),
    target ? h("div", { class: "target" },
      h("p", {}, L(`目标 ${integer(target.value)} 人，${month(target.due)}止`, `Target ${integer(target.value)} by ${month(target.due)}`), unverified(target), h("b", {}, done === null ? "—" : fixed(done, 1) + "%")),
      h("div", { class: "bar", role: "img", "aria-label": L(`完成 ${fixed(done ?? 0, 1)}%`, `${fixed(done ?? 0, 1)}% reached`) }, h("i", { style: { width: `${Math.min(100, done ?? 0)}%` } }))) : null,
    h("p", { class: "aside" }, h("span", {}, L("每万人口 ", "Per 10,000 residents "), bind(h("b", {}, short(residents.value, a.residents.meta)), a.residents, residents), L(" 名社工", " workers"))));

  const part = (zh: string, en: string, p: "numerator" | "denominator") => h("div", { class: "part" },
    h("span", {}, L(zh, en)), bind(h("b", {}, load[p] === null ? "—" : integer(load[p]!)), a.load, load, { part: p }), h("span", { class: "unit" }, L("人", "persons")));
  const burden = card("burden", L("一名社工要面对多少人？", "How many does one worker face?"), pick(a.load.meta),
    h("div", { class: "row" }, big(a.load, load), spark(a.loadByMonth)),
    h("div", { class: "parts" }, part("现有吸毒人员", "registered users", "numerator"), h("span", { class: "over" }, "÷"), part("在岗社工", "workers in post", "denominator")),
    h("p", { class: "aside" }, delta(a.load, load, load.previous_month, "较上月末", "on last month"),
      ratio ? h("span", {}, L(`配备比 ${integer(ratio.value)}∶1`, `staffing ratio ${integer(ratio.value)}:1`), " ", unverified(ratio)) : null));
  const short30 = card("gap", L("还缺多少人？", "How many are missing?"), pick(a.gap.meta),
    big(a.gap, gap),
    h("p", { class: "aside" }, L("缺口最大：", "Largest gaps: "),
      worst.map((r, i) => [i ? L("、", ", ") : "", bind(h("b", {}, `${unitName(r.unit)} ${integer(r.value!)}`), a.gapByUnit, r)])));

  const map = card("map", L("力量分布是否均衡？", "Is the force spread evenly?"), `${pick(a.denseByUnit.meta)}${theme === "dark" ? L("（颜色越亮，社工越多）", " (the brighter, the more)") : L("（颜色越深，社工越多）", " (the darker, the more)")}`,
    ...tiles(a.denseByUnit, units, { link: toUnit }));
  const rank = card("rank", L("哪里人手多，哪里人手少？", "Where are hands, where are none?"), `${pick(a.denseByUnit.meta)} · ${pick(a.denseByUnit.meta.unit)}`,
    h("p", { class: "rank-heads" }, h("span", {}, pick(a.denseByUnit.meta.unit)), h("span", {}, h("i", { class: "project" }), L("项目", "proj."), h("i", { class: "post" }), L("岗位", "post"))),
    ...ranking(a.denseByUnit, first(a.dense), toUnit, (u) => modeBar(a.modeByUnit.rows.filter((r) => r.unit === u), a.modeByUnit)));

  const orgs = first(a.orgs);
  const sums = new Map<string, number>();
  for (const r of a.modeByUnit.rows) sums.set(r.unit, (sums.get(r.unit) ?? 0) + (r.numerator ?? 0));
  const buyers = [...sums].filter(([u, v]) => u && v > 0).sort((x, y) => y[1] - x[1]).slice(0, 6);
  const total = a.mode.rows.reduce((s, r) => s + (r.numerator ?? 0), 0);
  const modeOf = (code: string) => a.mode.rows.find((r) => r.code === code);
  const social = card("frame social", L("社会化：组织与购买", "Socialised: organisations and purchase"), null,
    h("div", { class: "row" }, h("div", {}, h("p", { class: "label" }, pick(a.orgs.meta)), big(a.orgs, orgs), delta(a.orgs, orgs, orgs.last_year, "较上年同期", "on last year")), spark(a.orgsByMonth)),
    h("p", { class: "label" }, L(`本年购买合同 ${money(total)}`, `Contracts this year ${money(total)}`)),
    modeBar(a.mode.rows, a.mode, "tall"),
    h("p", { class: "keys" }, ["1", "2"].map((c) => {
      const r = modeOf(c);
      return h("span", { class: "key" }, h("i", { class: c === "1" ? "project" : "post" }), c === "1" ? L("购买项目 ", "projects ") : L("购买岗位 ", "posts "),
        r ? bind(h("b", {}, `${short(r.value, a.mode.meta)}`), a.mode, r) : h("b", {}, "—"));
    })),
    h("div", { class: "buyers" }, buyers.map(([u, v]) => h("a", { href: toUnit(u), class: "buyer" }, h("span", {}, unitName(u)),
      modeBar(a.modeByUnit.rows.filter((r) => r.unit === u), a.modeByUnit), h("span", { class: "v" }, money(v))))));
  const frame = (cls: string, zh: string, en: string, x: typeof a.trained, xm: typeof a.trained) => {
    const r = first(x);
    return card("frame " + cls, L(zh, en), null, h("div", { class: "row" },
      h("div", {}, h("p", { class: "label" }, pick(x.meta)), big(x, r), h("p", { class: "fraction" }, r.numerator === null ? "" : `${integer(r.numerator)} ÷ ${integer(r.denominator ?? 0)} ${L("人", "persons")}`),
        delta(x, r, r.last_year, "较上年同期", "on last year")), spark(xm)));
  };
  const pro = frame("pro", "专业化：教育培训", "Specialised: training", a.trained, a.trainedByMonth);
  const voc = frame("voc", "职业化：职业资格", "Vocational: qualification", a.certified, a.certifiedByMonth);

  const fresh = byUnit(a.freshByUnit), nation = first(a.fresh);
  const reporting = units.filter((u) => u.reports);
  const freshness = card("fresh", L("数据有多新？", "How fresh is the data?"), L("各单位最近一批数据距今", "time since each unit's last accepted batch"),
    h("div", { class: "dots" }, reporting.map((u) => {
      const r = fresh.get(u.code);
      const v = r?.value ?? null;
      const e = h("a", { class: "dot " + (v === null ? "none" : v <= 48 ? "new" : v <= 24 * 7 ? "week" : "old"), href: toUnit(u.code) }, mark(u));
      return r ? bind(e, a.freshByUnit, r, { quiet: true }) : e;
    })),
    h("p", { class: "keys" },
      h("span", { class: "key" }, h("i", { class: "new" }), L("2 天内", "2 days")), h("span", { class: "key" }, h("i", { class: "week" }), L("7 天内", "7 days")),
      h("span", { class: "key" }, h("i", { class: "old" }), L("更早", "older")),
      h("span", { class: "key" }, L("全国最近 ", "newest "), bind(h("b", {}, `${figure(nation.value, a.fresh.meta).text} ${figure(nation.value, a.fresh.meta).unit}`), a.fresh, nation))));

  const metas = [a.size.meta, a.load.meta, a.orgs.meta, a.trained.meta, a.certified.meta, a.mode.meta];
  return h("div", { class: "page d01" },
    head("D01", L("全国禁毒社会工作者队伍建设", "China's anti-drug social workers"), title, today),
    h("main", {}, h("div", { class: "col a" }, hero, burden, short30), h("div", { class: "col b" }, map, freshness), h("div", { class: "col c" }, rank), h("div", { class: "col d" }, social, pro, voc)),
    footer(metas, L("计入人员类别 01、02、03", "Categories 01, 02, 03 are counted")));
}
