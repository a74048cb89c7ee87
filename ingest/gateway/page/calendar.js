// The unit's own timeliness: a row a feed, a column a month.
import { get, Refusal } from "./api.js";
import { count, due, h, L, moment, pick, tell } from "./dom.js";

const marks = { on_time: "✓", late: "!", missing: "✕", open: "…", none: "–" };
const words = {
  on_time: () => L("按时", "on time"), late: () => L("迟到", "late"), missing: () => L("未报", "missing"), open: () => L("未到期", "not due yet"), none: () => L("无记录", "nothing"),
};

const named = (p) => (p.length === 6 && p[4] === "Q" ? L(`${p.slice(0, 4)} 年第 ${p[5]} 季度`, `${p.slice(0, 4)} Q${p[5]}`)
  : p.length === 6 ? L(`${p.slice(0, 4)} 年 ${Number(p.slice(4))} 月`, `${p.slice(0, 4)}-${p.slice(4)}`) : L(`${p} 年`, p));

export function calendar(main, { unit, expired }) {
  main.replaceChildren(h("div", { class: "card working" }, h("h2", {}, L("正在读取日历……", "Reading the calendar…"))));
  delete document.body.dataset.calendar;
  void load();

  async function load() {
    try {
      const { data } = await get(`/v1/units/${unit.code}/calendar`);
      if (main.isConnected) draw(data);
    } catch (e) {
      if (!(e instanceof Refusal)) throw e;
      if (e.status === 401) return expired(e);
      main.replaceChildren(h("div", { class: "card refusal", role: "alert" }, h("h2", {}, L("暂时读不到日历", "The calendar cannot be read now")), h("p", {}, e.message),
        h("button", { type: "button", class: "plain", onclick: () => calendar(main, { unit, expired }) }, L("再试一次", "Try again"))));
      tell(e.message);
    }
  }

  function draw(data) {
    const detail = h("div", { class: "detail", role: "status", "aria-live": "polite" }, h("p", { class: "hint" }, L("选择一格，看期限和到达时间。", "Choose a cell to see when it was due and when it came.")));
    const sentence = (f, p) => [
      `${pick(f)} · ${named(p.period)} · ${words[p.status]()}`,
      p.due_at && L("期限：", "due ") + due(p.due_at),
      p.records > 0 && L(`${count(p.records)} 条记录，首批 ${moment(p.first_arrived_at)}，最近 ${moment(p.last_arrived_at)}`, `${count(p.records)} records, first ${moment(p.first_arrived_at)}, last ${moment(p.last_arrived_at)}`),
      p.late > 0 && L(`其中 ${count(p.late)} 条晚于期限`, `${count(p.late)} of them late`),
    ].filter(Boolean);
    const show = (f, p, button) => {
      for (const b of main.querySelectorAll(".cell[aria-pressed=true]")) b.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", "true");
      const [head, ...rest] = sentence(f, p);
      detail.replaceChildren(h("h3", {}, h("span", { class: "chip " + p.status, "aria-hidden": "true" }, marks[p.status]), head), rest.map((t) => h("p", {}, t)), h("p", { class: "hint" }, L("规则：", "Rule: ") + pick(f, "due")));
    };
    const months = [];
    for (const f of data.feeds) for (const p of f.periods) if (p.period.length === 6 && p.period[4] !== "Q" && !months.includes(p.period)) months.push(p.period);
    months.sort();
    // A quarter or a year spans the months of it that are shown.
    const within = (p, m) => (p.length === 4 ? m.startsWith(p) : p[4] === "Q" ? m.startsWith(p.slice(0, 4)) && Math.floor((Number(m.slice(4)) + 2) / 3) === Number(p[5]) : p === m);
    const cells = (f) => {
      const out = [];
      for (let i = 0; i < months.length;) {
        const p = f.periods.find((x) => within(x.period, months[i]));
        let n = 1;
        while (p && i + n < months.length && within(p.period, months[i + n])) n++;
        const button = p && h("button", { type: "button", class: "cell " + p.status, "aria-pressed": "false", "aria-label": sentence(f, p).join(L("，", ", ")), "data-feed": f.feed, "data-period": p.period, "data-status": p.status, onclick: () => show(f, p, button) },
          h("b", { "aria-hidden": "true" }, marks[p.status]), p.records > 0 && h("small", { "aria-hidden": "true" }, count(p.records)));
        out.push(h("td", { colspan: n }, button));
        i += n;
      }
      return out;
    };
    // Overdue periods stand by feed: a unit that never sent one owes many.
    const overdue = data.feeds.map((f) => [f, f.periods.filter((p) => p.status === "missing")]).filter(([, ps]) => ps.length);
    const soon = data.feeds.flatMap((f) => f.periods.filter((p) => p.status === "open" && p.due_at && f.owed).map((p) => [f, p])).sort((a, b) => a[1].due_at.localeCompare(b[1].due_at)).slice(0, 4);
    const brief = (title, cls, empty, items) => h("section", { class: "card brief " + cls }, h("h2", {}, title), items.length ? h("ul", {}, items) : h("p", { class: "hint" }, empty));
    const item = (f, what, when) => h("li", {}, h("div", {}, h("b", {}, pick(f)), " ", what), h("span", {}, when));
    const several = (ps) => (ps.length === 1 ? named(ps[0].period) : L(`${named(ps.at(-1).period)}至${named(ps[0].period)}，共 ${ps.length} 期`, `${named(ps.at(-1).period)} to ${named(ps[0].period)}, ${ps.length} periods`));
    main.replaceChildren(
      h("div", { class: "pair" },
        brief(L("逾期未报", "Overdue"), overdue.length ? "bad" : "good", L("没有逾期未报的数据。", "Nothing is overdue."),
          overdue.map(([f, ps]) => item(f, several(ps), L("最近期限：", "last due ") + due(ps[0].due_at)))),
        brief(L("即将到期", "Due next"), "", L("近期没有到期的数据。", "Nothing is due soon."), soon.map(([f, p]) => item(f, named(p.period), due(p.due_at))))),
      h("section", { class: "card grid" },
        h("header", {}, h("h2", {}, L(`${unit.zh}的报送日历`, `Calendar of ${unit.en}`)), h("p", { class: "hint" }, L(`截至 ${moment(data.now)}（北京时间）；数字为记录数`, `as of ${moment(data.now)} (Beijing); figures count records`))),
        h("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": L("报送日历表", "Calendar table") },
          h("table", { class: "months" },
            h("thead", {}, h("tr", {}, h("th", { scope: "col" }, L("数据类别", "Feed")), months.map((m, i) => h("th", { scope: "col" }, i === 0 || m.endsWith("01") ? h("small", {}, m.slice(0, 4)) : h("small", { "aria-hidden": "true" }, "\u00a0"), L(`${Number(m.slice(4))}月`, m.slice(4)))))),
            h("tbody", {}, data.feeds.map((f) => h("tr", {}, h("th", { scope: "row", title: pick(f, "due") }, pick(f)), cells(f)))))),
        h("ul", { class: "legend" }, Object.keys(marks).map((k) => h("li", {}, h("span", { class: "chip " + k, "aria-hidden": "true" }, marks[k]), words[k]()))),
        detail));
    // The newest month is what a reader looks for.
    const scroll = main.querySelector(".scroll");
    scroll.scrollLeft = scroll.scrollWidth;
    document.body.dataset.calendar = unit.code;
    tell(L("日历已读取", "The calendar is here"));
  }
}
