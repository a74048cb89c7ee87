// Choose a feed, drop a file, see the findings in place, send, follow the
// receipt. What stands here survives a change of language: work is kept outside
// of what is drawn.
import { get, Refusal, save, upload } from "./api.js";
import { count, h, L, moment, pick, tell } from "./dom.js";

const shownRows = 100;
const work = { unit: null, feed: null, asOf: null, file: null, key: null, report: null, batch: null, receipt: null, state: null, busy: "", progress: 0, trouble: null, run: 0 };

// Letters only: digits could look like a number of a person.
const newKey = () => "page-" + [...crypto.getRandomValues(new Uint8Array(20))].map((b) => "abcdefghijkmnpqrstuvwxyzacegikmo"[b & 31]).join("");
const pause = (ms) => new Promise((r) => setTimeout(r, ms));
const size = (n) => (n < 1024 ? `${n} B` : n < 1 << 20 ? `${(n / 1024).toFixed(0)} KB` : `${(n / (1 << 20)).toFixed(1)} MB`);

// A file may be dropped anywhere; one beside the zone must not make the browser
// leave the page for it.
let take = null;
addEventListener("dragover", (e) => { e.preventDefault(); document.getElementById("zone")?.classList.add("over"); });
addEventListener("dragleave", (e) => { if (!e.relatedTarget) document.getElementById("zone")?.classList.remove("over"); });
addEventListener("drop", (e) => {
  e.preventDefault();
  document.getElementById("zone")?.classList.remove("over");
  const file = e.dataTransfer?.files[0];
  if (file && take) take(file);
});

export function send(main, { unit, session, expired }) {
  if (work.unit !== unit.code) Object.assign(work, { unit: unit.code, feed: null, report: null, batch: null, receipt: null, file: null, trouble: null, busy: "", run: work.run + 1 });
  work.asOf ??= session.today;
  const feed = () => unit.feeds.find((f) => f.feed === work.feed);
  const at = () => `/v1/units/${unit.code}/feeds/${work.feed}`;

  const reset = () => Object.assign(work, { key: null, report: null, batch: null, receipt: null, state: null, trouble: null, busy: "", run: work.run + 1 });

  async function guard(what) {
    work.trouble = null;
    try {
      await what();
    } catch (e) {
      if (!(e instanceof Refusal)) throw e;
      if (e.status === 401) return expired(e);
      work.trouble = e;
      tell(e.message);
    }
    work.busy = "";
    paint();
  }

  const check = () => guard(async () => {
    const run = ++work.run;
    Object.assign(work, { report: null, batch: null, receipt: null, key: null, busy: "check", progress: 0 });
    paint();
    const { data } = await upload(`${at()}/check?rows=${shownRows}&as_of=${work.asOf}`, work.file, {}, (p) => { if (run === work.run) { work.progress = p; meter(); } });
    if (run !== work.run) return;
    work.report = data;
    tell(L(`检查完成：${data.rows} 行，可入库 ${data.accepted} 行，问题 ${data.findings.length + data.truncated} 条。`,
      `Checked: ${data.rows} rows, ${data.accepted} acceptable, ${data.findings.length + data.truncated} findings.`));
  });

  const deliver = () => guard(async () => {
    const run = ++work.run;
    work.key ??= newKey(); // the same for every try with this file
    work.busy = "send";
    work.progress = 0;
    paint();
    for (let tries = 1; ; tries++) {
      try {
        const { data } = await upload(`${at()}/batches?as_of=${work.asOf}`, work.file, { "Idempotency-Key": work.key }, (p) => { work.progress = p; meter(); });
        work.batch = data;
        break;
      } catch (e) {
        const again = e instanceof Refusal && (e.status === 0 || e.status === 503 || e.status === 429) && tries < 4;
        if (!again) throw e;
        await pause(1000 * Math.max(e.retry, 2 ** tries));
      }
    }
    if (run !== work.run) return;
    tell(L("已收下，正在送往国家端。", "Taken in; on its way to the national side."));
    void follow(run);
  });

  async function follow(run) {
    for (let wait = 700; run === work.run; wait = Math.min(wait * 1.3, 5000)) {
      try {
        const { data, state } = await get(work.batch.receipt);
        if (run !== work.run) return;
        Object.assign(work, { receipt: data, state, trouble: null });
        paint();
        if (data.status === "complete") {
          tell(L(`回执已到：入库 ${stored(data)}，重复 ${data.outcomes.duplicate}，退回 ${data.outcomes.rejected}。`, `The receipt is here: ${stored(data)} stored, ${data.outcomes.duplicate} duplicate, ${data.outcomes.rejected} refused.`));
          return;
        }
      } catch (e) {
        if (!(e instanceof Refusal)) throw e;
        if (e.status === 401) return expired(e);
        work.trouble = e; // the database may be away; what was taken in is safe
        paint();
      }
      await pause(wait);
    }
  }

  const stored = (r) => ["new", "unchanged", "correction", "superseded", "conflict", "reprocessed"].reduce((s, k) => s + r.outcomes[k], 0);

  function choose(file) {
    reset();
    work.file = file;
    if (file.size > session.max_bytes) {
      work.trouble = { message: L(`文件超过 ${session.max_bytes >> 20} MB，请拆成几份。`, `The file is larger than ${session.max_bytes >> 20} MB; split it.`) };
      tell(work.trouble.message);
      return paint();
    }
    void check();
  }

  take = (file) => {
    if (!main.isConnected || work.busy) return;
    if (feed()) return choose(file);
    work.trouble = { message: L("请先选择数据类别，再拖入文件。", "Choose a feed first, then drop the file.") };
    tell(work.trouble.message);
    paint();
  };

  // -- the left column: what to do

  const left = h("div", { class: "steps" });
  const right = h("div", { class: "results" });

  function drawLeft() {
    const focused = document.activeElement?.id;
    const select = h("select", { id: "feed", onchange: (e) => { work.feed = e.target.value || null; reset(); if (work.file && work.feed) void check(); else paint(); } },
      h("option", { value: "" }, L("请选择……", "Choose…")),
      unit.feeds.map((f) => h("option", { value: f.feed, selected: f.feed === work.feed }, pick(f))));
    const date = h("input", { id: "as-of", type: "date", value: work.asOf, max: "2099-12-31", "aria-describedby": "as-of-hint", onchange: (e) => { if (e.target.value) { work.asOf = e.target.value; reset(); if (work.file && work.feed) void check(); else paint(); } } });
    const f = feed();
    const pickFile = h("input", { id: "file", type: "file", class: "unseen", tabindex: -1, "aria-hidden": "true", accept: ".xlsx,.csv,.tsv,.txt,.json,.ndjson,.jsonl,.arrow,.parquet", onchange: (e) => { if (e.target.files[0]) choose(e.target.files[0]); } });
    const zone = h("button", {
      type: "button", id: "zone", class: "zone", disabled: !f, "aria-describedby": "zone-hint", onclick: () => pickFile.click(),
    },
    h("span", { class: "zone-icon", "aria-hidden": "true" }),
    work.file ? h("span", {}, h("b", { class: "file-name" }, work.file.name), h("small", {}, `${size(work.file.size)} · ${L("点此换一个文件", "choose another file")}`))
      : h("span", {}, h("b", {}, L("把电子表格拖到这里", "Drop the spreadsheet here")), h("small", {}, L("或点此选择文件", "or choose a file"))));
    const r = work.report;
    const ready = r && r.accepted > 0 && !work.busy && !work.batch;
    const step = (n, title, done, ...body) => h("section", { class: "card step " + (done ? "done" : "") }, h("h2", {}, h("span", { class: "n", "aria-hidden": "true" }, done ? "✓" : n), title), ...body);
    left.replaceChildren(
      step(1, L("报什么", "What"), !!f,
        h("label", { for: "feed" }, L("数据类别", "Feed")), select,
        f && h("p", { class: "hint" }, pick(f, "doc"), " ", h("span", { class: "due" }, L("期限：", "Due: ") + pick(f, "due"))),
        h("label", { for: "as-of" }, L("表中未写生效日期的行，生效于", "Rows without an effective date take effect on")), date,
        h("p", { class: "hint", id: "as-of-hint" }, L("通常是这份数据所反映的那一天。", "As a rule the day that the data describes.")),
        f && h("button", { type: "button", class: "link", id: "template", onclick: () => guard(() => save(`/v1/feeds/${work.feed}/template`, `${pick(f)}.xlsx`)) }, L("下载填报模板", "Download the template"))),
      step(2, L("选文件", "The file"), !!r,
        zone, pickFile,
        h("p", { class: "hint", id: "zone-hint" }, f ? L("XLSX、CSV、JSON、Arrow、Parquet；先检查，不会直接报送。", "XLSX, CSV, JSON, Arrow or Parquet. It is checked first and not sent.") : L("请先选择数据类别。", "Choose a feed first."))),
      step(3, L("报送", "Send"), !!work.batch,
        h("button", { type: "button", id: "send", class: "primary wide", disabled: !ready, onclick: deliver },
          work.busy === "send" ? L("正在报送……", "Sending…") : r && !work.batch ? L(`报送可入库的 ${count(r.accepted)} 行`, `Send the ${count(r.accepted)} acceptable rows`) : L("报送", "Send")),
        h("p", { class: "hint" }, work.batch ? L("已报送。要再报一份，请选择新文件。", "Sent. To send another one, choose a file.")
          : !r ? L("检查通过后即可报送。", "Ready once the file is checked.")
          : r.accepted === 0 ? L("没有可入库的行，请先按右侧提示修改。", "No row can be accepted; mend the file first.")
          : r.accepted < r.rows ? L(`有错误的 ${count(r.rows - r.accepted)} 行不会报送；建议先改好再报。`, `The ${count(r.rows - r.accepted)} rows with errors are not sent; better mend them first.`)
          : L("全部通过，可以报送。", "All rows pass."))));
    if (focused && left.querySelector("#" + focused)) left.querySelector("#" + focused).focus();
  }

  // -- the right column: what came of it

  const bar = h("div", { class: "meter", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, h("i"));
  function meter() {
    bar.setAttribute("aria-valuenow", Math.round(100 * work.progress));
    bar.firstChild.style.setProperty("width", `${100 * work.progress}%`);
    bar.classList.toggle("judging", work.progress >= 1);
  }

  function tile(label, n, kind, note = "") {
    return h("div", { class: "tile " + kind }, h("span", {}, label), h("b", {}, count(n)), note && h("small", {}, note));
  }

  function summary(r) {
    const sum = (s) => r.counts.filter((c) => c.severity === s).reduce((t, c) => t + c.count, 0);
    const errors = sum("error"), warnings = sum("warning");
    return [
      h("div", { class: "tiles" },
        tile(L("读到的行", "Rows read"), r.rows, "calm"),
        tile(L("可入库", "Acceptable"), r.accepted, r.accepted === r.rows ? "good" : "calm"),
        tile(L("错误", "Errors"), errors, errors ? "bad" : "calm"),
        tile(L("提示", "Warnings"), warnings, warnings ? "warn" : "calm")),
      r.notes.length > 0 && h("ul", { class: "notes" }, r.notes.map((n) => h("li", {}, pick(n)))),
    ];
  }

  // The sender's own rows, with the cells that fall short marked and what to do
  // about them in a line below.
  function sheetOf(r) {
    const key = (sheet, row) => sheet + "\u0000" + row;
    const by = new Map();
    for (const f of r.findings) {
      const k = key(f.sheet, f.row);
      if (!by.has(k)) by.set(k, []);
      by.get(k).push(f);
    }
    const heads = r.lines.filter((l) => l.fields);
    return heads.map((head) => {
      const rows = r.lines.filter((l) => !l.fields && l.sheet === head.sheet);
      const own = by.get(key(head.sheet, head.row)) ?? [];
      if (!rows.length && !own.length) return null;
      const letter = (i) => { let s = ""; for (i++; i > 0; i = Math.floor((i - 1) / 26)) s = String.fromCharCode(65 + ((i - 1) % 26)) + s; return s; };
      const place = (f) => { const i = head.cells.findIndex((_, n) => f.column && letter(n) === f.column); return i >= 0 ? i : head.fields.indexOf(f.field); };
      // Wide tables show the columns that matter: the first two and those with findings.
      const wanted = new Set([0, 1]);
      for (const f of [...own, ...rows.flatMap((l) => by.get(key(l.sheet, l.row)) ?? [])]) if (place(f) >= 0) wanted.add(place(f));
      const all = head.cells.length <= 6;
      const columns = head.cells.map((_, i) => i).filter((i) => all || wanted.has(i));
      const lettered = r.findings.some((f) => f.column);
      let n = 0;
      const line = (l, cellTag) => {
        const found = l === head ? own : by.get(key(l.sheet, l.row)) ?? [];
        const id = `say-${head.sheet}-${l.row}-${n++}`.replace(/[^\w-]/g, "_");
        const worst = (i) => { const s = found.filter((f) => place(f) === i).map((f) => f.severity); return s.includes("error") ? "error" : s.includes("warning") ? "warning" : ""; };
        const cells = columns.map((i) => {
          const w = worst(i), text = l.cells[i] ?? "";
          return h(cellTag, { class: w, scope: cellTag === "th" ? "col" : null, "aria-describedby": w ? id : null },
            w && h("span", { class: "unseen" }, w === "error" ? L("有错误：", "Error: ") : L("有提示：", "Warning: ")),
            text || (w ? h("em", {}, L("空", "empty")) : ""));
        });
        return [
          h("tr", { class: l === head ? "head" : "row" }, h("th", { scope: l === head ? null : "row", class: "no" }, l.row || ""), cells),
          found.length > 0 && h("tr", { class: "says" }, h("td", { class: "no", "aria-hidden": "true" }), h("td", { colspan: columns.length, id }, h("ul", {}, found.map((f) =>
            h("li", { class: f.severity, "data-rule": f.rule }, h("b", {}, (lettered && f.column ? `${f.column}${f.row} ` : "") + (place(f) >= 0 ? head.cells[place(f)] : "")), " ", pick(f, "message")))))),
        ];
      };
      return h("div", { class: "sheet", role: "region", tabindex: 0, "aria-label": L("有问题的行", "Rows with findings") + (head.sheet ? ` · ${head.sheet}` : "") },
        h("table", {},
          h("caption", {}, head.sheet ? L(`工作表“${head.sheet}”`, `Sheet “${head.sheet}”`) : L("您的表格", "Your table"),
            h("span", {}, all ? "" : L(`（只列有问题的列，共 ${head.cells.length} 列）`, ` (columns with findings of ${head.cells.length})`))),
          lettered && h("thead", {}, h("tr", { class: "letters", "aria-hidden": "true" }, h("td", { class: "no" }), columns.map((i) => h("td", {}, letter(i))))),
          h("tbody", {}, line(head, "th"), rows.map((l) => line(l, "td")))));
    });
  }

  function rulesOf(r) {
    if (!r.counts.length) return null;
    const sample = new Map(r.findings.map((f) => [f.rule, f]));
    return h("details", { class: "rules" }, h("summary", {}, L("按规则汇总", "By rule")),
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, L("规则", "Rule")), h("th", { scope: "col", class: "num" }, L("条数", "Count")))),
        h("tbody", {}, [...r.counts].sort((a, b) => b.count - a.count).map((c) => h("tr", {}, h("td", {}, h("span", { class: "dot " + c.severity, "aria-hidden": "true" }), h("span", { class: "unseen" }, c.severity === "error" ? L("错误 ", "error ") : L("提示 ", "warning ")), sample.has(c.rule) ? pick(sample.get(c.rule), "message") : c.rule, " ", h("code", {}, c.rule)), h("td", { class: "num" }, count(c.count)))))));
  }

  const names = {
    new: () => L("新增", "New"), correction: () => L("更正", "Correction"), unchanged: () => L("无变化", "Unchanged"), superseded: () => L("已有更新版本", "Superseded"),
    conflict: () => L("相互矛盾", "Conflict"), reprocessed: () => L("重新处理", "Reprocessed"), duplicate: () => L("重复", "Duplicate"), rejected: () => L("退回", "Refused"),
  };

  function receiptOf() {
    const b = work.batch, r = work.receipt, done = r?.status === "complete";
    const arrived = r ? Math.min(r.received, r.declared) : 0;
    const stage = (ok, now, title, text) => h("li", { class: ok ? "ok" : now ? "now" : "", "aria-current": now && !ok ? "step" : null }, h("span", { class: "mark", "aria-hidden": "true" }, ok ? "✓" : ""), h("div", {}, h("b", {}, title), h("small", {}, text)));
    const sent = work.state === "sent" || arrived > 0;
    return h("section", { class: "card receipt", "data-status": r?.status ?? "none", "aria-label": L("回执", "Receipt") },
      h("header", {}, h("h2", {}, done ? L("回执：每一行都有去向", "Receipt: every row is accounted for") : L("正在送达", "On its way")), h("code", { title: L("批次号", "batch id") }, b.batch_id)),
      h("ol", { class: "stages" },
        stage(true, false, L("已收下", "Taken in"), L(`${count(b.rows)} 行，${moment(b.prepared_at)}`, `${count(b.rows)} rows, ${moment(b.prepared_at)}`)),
        stage(sent, true, L("已送出", "Sent"), sent ? L("消息系统已确认", "acknowledged by Kafka") : L("等待消息系统，会自动重试", "waiting for Kafka, tried again by itself")),
        stage(done, sent, L("已入库", "Stored"), r ? `${count(arrived)} / ${count(r.declared)}` : L("等待国家端", "waiting"))),
      r && r.received > 0 && [
        h("div", { class: "split", role: "img", "aria-label": L("各行的去向", "what became of the rows") }, Object.entries(r.outcomes).filter(([, n]) => n).map(([k, n]) => h("i", { class: k, style: { "flex-grow": n } }))),
        h("dl", { class: "outcomes" }, Object.entries(r.outcomes).filter(([k, n]) => n || k === "new" || k === "rejected").map(([k, n]) => h("div", { class: k, "data-outcome": k, "data-value": n }, h("dt", {}, names[k]()), h("dd", {}, count(n))))),
      ],
      done && r.outcomes.rejected === 0 && b.rows_refused === 0 && h("p", { class: "fine" }, L("没有被退回的行。", "No row was refused.")),
      (b.rows_refused > 0 || r && r.outcomes.rejected > 0) && h("div", { class: "refused" },
        h("p", {}, L(`${count(b.rows_refused)} 行在报送前未通过检查，${count(r?.outcomes.rejected ?? 0)} 行被国家端退回。改好后重新报送这些行即可。`, `${count(b.rows_refused)} rows did not pass the check before sending, ${count(r?.outcomes.rejected ?? 0)} were refused by the national side. Mend them and send them again.`)),
        h("button", { type: "button", class: "plain", id: "rejects", onclick: () => guard(() => save(`${b.receipt}/rejects?format=csv`, L("被退回的行.csv", "refused-rows.csv"))) }, L("下载被退回的行（CSV）", "Download the refused rows (CSV)"))),
      done && h("p", { class: "hint" }, L("回执长期可查，请记下批次号。", "The receipt stays; note the batch id.")));
  }

  function drawRight() {
    const r = work.report, out = [];
    if (work.trouble) out.push(h("div", { class: "card refusal", role: "alert" }, h("h2", {}, L("没有成功", "It did not work")), h("p", {}, work.trouble.message),
      work.trouble.number && h("p", { class: "hint" }, L("编号 ", "Number "), h("code", {}, work.trouble.number)),
      work.file && work.feed && !work.busy && !work.batch && h("button", { type: "button", class: "plain", id: "again", onclick: () => (work.key ? deliver() : check()) }, L("再试一次", "Try again"))));
    if (work.busy) {
      out.push(h("div", { class: "card working" }, h("h2", {}, work.busy === "check" ? L("正在检查……", "Checking…") : L("正在报送……", "Sending…")), bar));
      bar.setAttribute("aria-label", work.busy === "check" ? L("检查进度", "checking") : L("报送进度", "sending"));
      meter();
    }
    if (work.batch) out.push(receiptOf());
    if (r) {
      const total = r.findings.length + r.truncated, rows = r.lines.filter((l) => !l.fields).length;
      const bad = new Set(r.findings.map((f) => f.sheet + f.row)).size;
      out.push(h("section", { class: "card report", "aria-label": L("检查结果", "Findings") },
        h("header", {}, h("h2", {}, total ? L("检查结果", "What the check found") : L("检查通过，没有发现问题", "The check found nothing")),
          total > 0 && h("button", { type: "button", class: "link", id: "marked", onclick: () => guard(() => save(`${at()}/check?format=xlsx&as_of=${work.asOf}`, L("标注副本.xlsx", "marked.xlsx"), { method: "POST", body: work.file, headers: { "Content-Type": "application/octet-stream" } })) }, L("下载标注副本（XLSX）", "Download a marked copy (XLSX)"))),
        summary(r), sheetOf(r),
        rows > 0 && rows < bad && h("p", { class: "hint" }, L(`只列出前 ${rows} 行；全部问题见标注副本。`, `The first ${rows} rows are shown; the marked copy has all of them.`)),
        rulesOf(r)));
    }
    if (!out.length) out.push(h("div", { class: "card empty" },
      h("h2", {}, L("检查结果会显示在这里", "Findings will stand here")),
      h("p", {}, L("每个有问题的单元格都会标出，并写明怎样修改。检查用的是国家端的同一套规则；检查的内容不保存，问题说明里从不出现个人信息。", "Each cell with a problem is marked, with how to mend it. The check has the rules of the national side; nothing of it is kept, and no message repeats a personal value."))));
    right.replaceChildren(...out);
  }

  function paint() {
    if (!main.isConnected) return;
    drawLeft();
    drawRight();
  }
  main.replaceChildren(left, right);
  drawLeft();
  drawRight();
  if (work.batch && work.receipt?.status !== "complete") void follow(++work.run);
}
