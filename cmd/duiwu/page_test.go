package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/browsertest"
	"github.com/duiwu/duiwu/internal/feed"
)

// faults finds what leaves the screen, and what a keyboard or a screen reader
// cannot use.
const faults = `(() => {
  const bad = [], W = innerWidth;
  if (document.documentElement.scrollWidth > W) bad.push("page is wider than the screen: " + document.documentElement.scrollWidth);
  for (const e of document.querySelectorAll("#app *")) {
    if (e.closest(".unseen, .skip, .sheet, .scroll")) continue;
    const r = e.getBoundingClientRect();
    if (r.width && (r.right > W + 1 || r.left < -1)) bad.push("leaves the screen: " + e.tagName + "." + e.className);
  }
  for (const e of document.querySelectorAll("button, a[href], select, input, textarea")) {
    if (e.getAttribute("aria-hidden") === "true") continue;
    const name = e.getAttribute("aria-label") || (e.labels && e.labels[0] && e.labels[0].textContent) || e.textContent.trim();
    if (!name) bad.push("has no name: " + e.outerHTML.slice(0, 80));
    if (e.tabIndex < 0) bad.push("cannot be reached by keyboard: " + e.outerHTML.slice(0, 80));
  }
  for (const e of document.querySelectorAll("[aria-describedby]")) for (const id of e.getAttribute("aria-describedby").split(" ")) if (!document.getElementById(id)) bad.push("describes itself by nothing: #" + id);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids)) if (ids.filter((x) => x === id).length > 1) bad.push("id stands twice: " + id);
  if (document.querySelectorAll("main").length !== 1 || document.querySelectorAll("h1").length !== 1) bad.push("not one main and one h1");
  const lum = (c) => { const [r, g, b] = c.match(/[\d.]+/g).map(Number).map((v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (c !== "rgba(0, 0, 0, 0)" && !c.includes("/") && !/^rgba.*, 0\.\d+\)$/.test(c)) return c; } return "rgb(255,255,255)"; };
  for (const e of document.querySelectorAll("#app *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) || e.closest(".unseen, option, [disabled], .skip, .top, noscript")) continue;
    const [a, b] = [lum(getComputedStyle(e).color), lum(ground(e))].sort((x, y) => y - x), k = (a + .05) / (b + .05);
    if (k < 4.5) bad.push("hard to read, contrast " + k.toFixed(2) + ": " + e.tagName + "." + e.className + " «" + e.textContent.slice(0, 20) + "»");
  }
  return [...new Set(bad)].slice(0, 12);
})()`

// resident makes the n-th identity number of the reserved test area.
func resident(n int) string {
	body := fmt.Sprintf("3199011980%02d%02d%03d", 1+n/28%12, 1+n%28, 100+n)
	sum := 0
	for i, c := range body {
		sum += int(c-'0') * [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}[i]
	}
	return body + string("10X98765432"[sum%11])
}

// messyWorkbook is one as an office writes it: a title, a merged note, and slips.
func messyWorkbook(t *testing.T) string {
	t.Helper()
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	spec := cat.Feed("worker")
	example := sheet.Example(cat, spec)
	wanted := []string{"id_number", "name", "sex", "education_code", "worker_category", "employer_uscc", "county_code", "entry_on"}
	f := excelize.NewFile()
	defer func() { _ = f.Close() }()
	put := func(row int, cells ...any) {
		require.NoError(t, f.SetSheetRow("Sheet1", fmt.Sprintf("A%d", row), &cells))
	}
	require.NoError(t, f.SetSheetName("Sheet1", "Sheet1"))
	put(1, "上海市禁毒社会工作者花名册")
	require.NoError(t, f.MergeCell("Sheet1", "A1", "H1"))
	var head []any
	for _, name := range wanted {
		head = append(head, spec.All()[spec.Index(name)].Zh)
	}
	put(2, head...)
	for i := range 24 {
		var row []any
		for _, name := range wanted {
			row = append(row, example[feed.Index(spec.Fields, name)])
		}
		id := resident(i)
		row[0], row[1] = id, "测试人员"
		row[2] = map[bool]string{true: "男", false: "女"}[(id[16]-'0')%2 == 1]
		row[6] = "310115"
		switch i {
		case 3:
			row[0] = id[:17] + string("0123456789"[(id[17]-'0'+1)%10])
		case 6:
			row[1] = ""
		case 9:
			row[3], row[7] = "博土", "去年"
		case 12:
			row[2] = map[bool]string{true: "女", false: "男"}[row[2] == "男"]
		case 15:
			row[5] = "91310000MA1K000000"
		}
		put(3+i, row...)
	}
	path := filepath.Join(t.TempDir(), "花名册 2016年11月.xlsx")
	require.NoError(t, f.SaveAs(path))
	return path
}

// TestPage goes the whole way of a clerk, in both languages and themes, on a
// desk and on a telephone: what the receipt on the page says is what the
// database says.
func TestPage(t *testing.T) {
	chromium := browsertest.Start(t)
	p := newPath(t, "310000")
	p.worker()
	d := newDoor(t, p)
	tab := chromium.Tab(t, d.url, "status of 422") // Chromium's own line about a file that was refused
	file := messyWorkbook(t)
	css := func(s string) chromedp.CSS { return chromedp.CSS(s) }
	run := tab.Do
	value := func(js string) string {
		t.Helper()
		return browsertest.Eval[string](tab, js)
	}
	name := ""
	look := func(what string) {
		t.Helper()
		tab.Settle()
		tab.ShootAll("gateway-" + name + "-" + what)
		if bad := browsertest.Eval[[]string](tab, faults); len(bad) > 0 {
			t.Errorf("%s-%s:\n  %s", name, what, strings.Join(bad, "\n  "))
		}
	}
	for _, v := range []struct {
		lang, theme string
		w, h        int64
	}{{"zh", "light", 1366, 768}, {"zh", "dark", 390, 844}, {"en", "dark", 1366, 768}, {"en", "light", 390, 844}} {
		name = fmt.Sprintf("%s-%s-%d", v.lang, v.theme, v.w)
		run(chromedp.EmulateViewport(v.w, v.h), chromedp.Navigate(fmt.Sprintf("%s/?lang=%s&theme=%s", d.url, v.lang, v.theme)), chromedp.WaitVisible(css(`body[data-ready=door]`)))
		look("1-door")
		// By keyboard alone: the token, Tab to the button, Enter.
		run(chromedp.Focus(css("#token")), chromedp.SetValue(css("#token"), d.token(t, "310000")), chromedp.KeyEvent("\t"), chromedp.KeyEvent("\r"), chromedp.WaitVisible(css(`body[data-ready=send]`)))
		look("2-empty")
		run(chromedp.SetValue(css("#feed"), "worker"))
		value(`document.getElementById("feed").dispatchEvent(new Event("change")), ""`)
		run(chromedp.SetUploadFiles(css("#file"), []string{file}), chromedp.WaitVisible(css(".report .says")))
		look("3-findings")
		require.Equal(t, "24 rows, 20 accepted", value(`(() => { const n = [...document.querySelectorAll(".tiles b")].map((e) => e.textContent); return n[0] + " rows, " + n[1] + " accepted"; })()`))
		require.Equal(t, "ric_checksum,required,code_list,date_invalid,ric_sex_mismatch,uscc_checksum",
			value(`[...document.querySelectorAll(".says li")].map((e) => e.dataset.rule).join()`))
		require.Equal(t, "博土", value(`document.querySelectorAll(".sheet tr.row")[2].querySelector("td.error").lastChild.textContent`), "the marked cell is the wrong one")
		run(chromedp.Focus(css("#send")), chromedp.KeyEvent("\r"), chromedp.WaitVisible(css(".receipt[data-status=complete]")))
		look("4-receipt")
		require.Equal(t, "20", value(`String([...document.querySelectorAll("[data-outcome]")].reduce((s, e) => s + Number(e.dataset.value), 0))`))
		run(chromedp.Click(css(`nav a[href="#calendar"]`)), chromedp.WaitVisible(css(`body[data-calendar="310000"]`)))
		look("5-calendar")
		require.Equal(t, "missing,on_time", value(`[...document.querySelectorAll('[data-feed=worker][data-period="201611"], [data-feed=worker][data-period="201610"]')].map((e) => e.dataset.status).join()`), "October is missing, November has come")
		run(chromedp.Focus(css(`[data-feed=worker][data-period="201611"]`)), chromedp.KeyEvent("\r"))
		require.Contains(t, value(`document.querySelector(".detail").textContent`), "20")
		// A file dropped beside the zone is taken, and refused with a sentence.
		run(chromedp.Click(css(`nav a[href="#send"]`)), chromedp.WaitVisible(css(`body[data-ready=send] #zone`)))
		value(`(() => { const d = new DataTransfer(); d.items.add(new File(["%PDF-1.7"], "x.xlsx")); document.querySelector("h1").dispatchEvent(new DragEvent("drop", { dataTransfer: d, bubbles: true, cancelable: true })); return ""; })()`)
		run(chromedp.WaitVisible(css(".refusal")))
		look("6-refused")
		require.Contains(t, value(`document.querySelector(".refusal p").textContent`), map[string]string{"zh": "不是数据表", "en": "no table"}[v.lang])
		run(chromedp.Click(css("#out")), chromedp.WaitVisible(css(`body[data-ready=door] #token`)))
		require.Empty(t, tab.Complaints())
	}
	require.Equal(t, []string{"20 records"}, p.lines("SELECT concat(toString(count()), ' records') FROM worker FINAL"))
}
