package viewer

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/xuri/excelize/v2"

	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/internal/feed"
)

// sheet is a panel as a file: what it shows, and what must be known to read it.
type sheet struct {
	title   string
	columns []string
	places  []int   // decimals of the column; -1 for text
	rows    [][]any // string, or float64
	notes   [][2]string
}

// export answers GET /api/export?format=csv|xlsx&title=…&query=…: the frame that
// the panel shows, asked anew, so that a file holds nothing that a page hides.
func (s *server) export(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	write := map[string]func(*sheet) ([]byte, error){"csv": (*sheet).csv, "xlsx": (*sheet).xlsx}[q.Get("format")]
	var query map[string]any
	if err := json.Unmarshal([]byte(q.Get("query")), &query); err != nil || write == nil {
		http.Error(w, "an export needs format=csv or xlsx and the JSON of a query", http.StatusBadRequest)
		return
	}
	if query["format"] == "tiles" {
		// The picture of the nation is a list of its units.
		delete(query, "format")
		if query["queryType"] == nil {
			query["format"] = "table"
		}
	}
	query["fresh"] = true // a file is kept
	raw, err := json.Marshal(query)
	if err != nil {
		http.Error(w, "an export needs the JSON of a query", http.StatusBadRequest)
		return
	}
	res, err := s.ds.QueryData(r.Context(), &backend.QueryDataRequest{Queries: []backend.DataQuery{{RefID: "A", JSON: raw}}})
	if err != nil {
		s.log.Error("cannot answer a request", "error", err)
		http.Error(w, "the query failed", http.StatusBadGateway)
		return
	}
	a := res.Responses["A"]
	if a.Error != nil || len(a.Frames) == 0 {
		http.Error(w, fmt.Sprint(a.Error), int(a.Status))
		return
	}
	lang, _ := query["lang"].(string)
	x := s.sheet(a.Frames[0], q.Get("title"), lang)
	b, err := write(x)
	if err != nil {
		s.log.Error("cannot write an export", "error", err)
		http.Error(w, "the file cannot be written", http.StatusInternalServerError)
		return
	}
	name := fmt.Sprintf("duiwu-%s-%s.%s", a.Frames[0].Name, s.ds.Today().Format("20060102"), q.Get("format"))
	h := w.Header()
	h.Set("Content-Type", map[string]string{"csv": "text/csv; charset=utf-8", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}[q.Get("format")])
	h.Set("Content-Disposition", `attachment; filename="`+name+`"; filename*=UTF-8''`+url.PathEscape(x.title+" "+name))
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(b) // the reader has gone; nobody is left to tell
}

func text(lang, zh, en string) string {
	if strings.HasPrefix(lang, "en") {
		return en
	}
	return zh
}

func (s *server) sheet(f *data.Frame, title, lang string) *sheet {
	out := &sheet{title: title}
	m, _ := f.Meta.Custom.(*plugin.Provenance)
	if out.title == "" {
		out.title = f.Name
		if m != nil {
			out.title = text(lang, m.Zh, m.En)
		}
	}
	for _, x := range f.Fields {
		name, unit, places := x.Name, "", -1
		if x.Config != nil && x.Config.DisplayNameFromDS != "" {
			name, unit = x.Config.DisplayNameFromDS, x.Config.Unit
		}
		if x.Name == "time" {
			name = text(lang, "日期", "date")
		}
		if x.Type().Numeric() {
			places = 0
			if x.Config != nil && x.Config.Decimals != nil {
				places = int(*x.Config.Decimals)
			}
			if unit = unitName(unit, lang); unit != "" {
				name += text(lang, "（"+unit+"）", " ("+unit+")")
			}
		}
		out.columns, out.places = append(out.columns, name), append(out.places, places)
	}
	for i := range f.Rows() {
		row := make([]any, len(f.Fields))
		for k, x := range f.Fields {
			row[k] = cell(f, x, i, m, lang)
			if v, ok := row[k].(float64); ok && v != math.Trunc(v) && out.places[k] == 0 {
				out.places[k] = 2 // a figure without a form of its own
			}
		}
		out.rows = append(out.rows, row)
	}
	out.notes = s.notes(f, m, out.title, lang)
	return out
}

// cell is a number, a text, or why there is no number.
func cell(f *data.Frame, x *data.Field, row int, m *plugin.Provenance, lang string) any {
	v, ok := x.ConcreteAt(row)
	switch v := v.(type) {
	case time.Time:
		if !ok {
			return ""
		}
		if f.Meta.Custom == nil { // a moment, not a day
			return v.In(feed.Shanghai).Format("2006-01-02 15:04:05")
		}
		return v.Format(time.DateOnly)
	case string:
		return v
	}
	if ok {
		v, err := x.FloatAt(row)
		if err == nil && !math.IsNaN(v) {
			return math.Round(v*1e6) / 1e6
		}
	}
	if m == nil {
		return ""
	}
	of := func(name string) string {
		if l := x.Labels[name]; l != "" {
			return l
		}
		if y, _ := f.FieldByName(name); y != nil {
			s, _ := y.At(row).(string)
			return s
		}
		return ""
	}
	day := m.AsOf
	if t, _ := f.FieldByName("time"); t != nil {
		if at, ok := t.At(row).(time.Time); ok {
			day = at.Format(time.DateOnly)
		}
	}
	state := m.States[day+"|"+of("unit")+"|"+of("code")]
	if state == "" {
		state = m.States[day+"|"+of("unit")+"|"+x.Name] // a column of a cross table is a code
	}
	switch {
	case state == "suppressed" && m.Format.Kind == "integer":
		return "<" + strconv.Itoa(m.SuppressBelow)
	case state == "suppressed", state == "protected":
		return text(lang, "隐去", "hidden")
	case state == "none":
		return text(lang, "尚无", "none yet")
	}
	return "—"
}

// unitName writes a unit of Grafana in words.
func unitName(unit, lang string) string {
	if u, ok := strings.CutPrefix(unit, "suffix:"); ok {
		return strings.TrimSpace(u)
	}
	return map[string]string{"percent": "%", "currency:¥": text(lang, "元", "yuan"), "dtdhms": text(lang, "秒", "seconds")}[unit]
}

// notes say what the figures are, as of when, who is missing, and what is hidden.
func (s *server) notes(f *data.Frame, m *plugin.Provenance, title, lang string) [][2]string {
	var out [][2]string
	add := func(zh, en, v string) {
		if v != "" {
			out = append(out, [2]string{text(lang, zh, en), v})
		}
	}
	add("标题", "title", title)
	if m != nil {
		add("指标", "indicator", m.ID+" "+text(lang, m.Zh, m.En))
		add("定义", "definition", text(lang, m.Definition.Zh, m.Definition.En))
		add("分子", "numerator", text(lang, m.Numerator.Zh, m.Numerator.En))
		add("分母", "denominator", text(lang, m.Denominator.Zh, m.Denominator.En))
		add("口径版本", "definition version", fmt.Sprintf("%d, %s, %s", m.Version, m.ValidFrom, m.Approval))
		add("数据的限制", "limits of the data", text(lang, m.State.Zh, m.State.En))
		add("统计日", "day", m.AsOf)
		if m.DataAsOf != nil {
			add("数据截至", "data as of", m.DataAsOf.In(feed.Shanghai).Format("2006-01-02 15:04"))
		}
		add("计入单位", "units included", fmt.Sprintf("%d / %d", len(m.UnitsIncluded), m.Units))
		var missing []string
		for _, x := range m.UnitsMissing {
			name := x.Unit
			if u := s.contract.Unit(x.Unit); u != nil {
				name = text(lang, u.ShortZh, u.ShortEn())
			}
			if !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
		if missing == nil {
			missing = []string{text(lang, "无", "none")}
		}
		add("最近一期未到的单位", "units whose last month is missing", strings.Join(missing, text(lang, "、", ", ")))
		add("隐去的单元格", "hidden cells", text(lang, fmt.Sprintf("%d 格（人数不足 %d，以及为防推算而一并隐去的）", m.Suppressed, m.SuppressBelow), fmt.Sprintf("%d (fewer than %d persons, and those hidden so that these cannot be computed)", m.Suppressed, m.SuppressBelow)))
	}
	for _, n := range f.Meta.Notices {
		add("提示", "notice", n.Text)
	}
	add("导出时间", "exported", time.Now().In(feed.Shanghai).Format("2006-01-02 15:04:05"))
	return out
}

// harmless keeps a spreadsheet from taking a text for a formula.
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(s)[0]) {
		return "'" + s
	}
	return s
}

// csv begins with a byte order mark, without which Excel takes Chinese for
// another encoding. The notes follow the data after an empty line.
func (x *sheet) csv() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("\ufeff")
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	line := func(cells ...any) {
		out := make([]string, len(cells))
		for i, c := range cells {
			switch c := c.(type) {
			case float64:
				out[i] = strconv.FormatFloat(c, 'f', -1, 64)
			case string:
				out[i] = harmless(c)
			}
		}
		_ = w.Write(out) // a buffer takes everything; Error below would tell
	}
	head := make([]any, len(x.columns))
	for i, c := range x.columns {
		head[i] = c
	}
	line(head...)
	for _, r := range x.rows {
		line(r...)
	}
	line("")
	for _, n := range x.notes {
		line(n[0], n[1])
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// xlsx has the data on its first sheet and the notes on its second. Texts are
// written as texts, so that none is a formula.
func (x *sheet) xlsx() ([]byte, error) {
	f := excelize.NewFile()
	defer func() { _ = f.Close() }() // nothing of it lies on disk
	chinese := len(x.notes) > 0 && x.notes[0][0] == "标题"
	first, second := "data", "notes"
	if chinese {
		first, second = "数据", "说明"
	}
	var err error
	do := func(e error) {
		if err == nil {
			err = e
		}
	}
	do(f.SetSheetName("Sheet1", first))
	_, e := f.NewSheet(second)
	do(e)
	bold, e := f.NewStyle(&excelize.Style{Font: &excelize.Font{Bold: true}, Alignment: &excelize.Alignment{WrapText: true, Vertical: "center"}, Fill: excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{"DCE9F6"}}})
	do(e)
	wrap, e := f.NewStyle(&excelize.Style{Alignment: &excelize.Alignment{WrapText: true, Vertical: "top"}})
	do(e)
	at := func(sheet string, col, row int, v any) {
		name, e := excelize.CoordinatesToCellName(col, row)
		do(e)
		if s, ok := v.(string); ok {
			do(f.SetCellStr(sheet, name, s))
		} else {
			do(f.SetCellValue(sheet, name, v))
		}
	}
	for i, c := range x.columns {
		at(first, i+1, 1, c)
		name, e := excelize.ColumnNumberToName(i + 1)
		do(e)
		width := 2.0 * float64(len([]rune(c)))
		for _, r := range x.rows {
			if s, ok := r[i].(string); ok {
				width = max(width, 2*float64(len([]rune(s))))
			}
		}
		do(f.SetColWidth(first, name, name, min(40, max(10, width+2))))
		if x.places[i] >= 0 && len(x.rows) > 0 {
			form := "#,##0"
			if x.places[i] > 0 {
				form += "." + strings.Repeat("0", x.places[i])
			}
			style, e := f.NewStyle(&excelize.Style{CustomNumFmt: &form, Alignment: &excelize.Alignment{Horizontal: "right"}})
			do(e)
			do(f.SetCellStyle(first, name+"2", name+strconv.Itoa(len(x.rows)+1), style))
		}
	}
	for i, r := range x.rows {
		for k, v := range r {
			at(first, k+1, i+2, v)
		}
	}
	do(f.SetRowStyle(first, 1, 1, bold))
	do(f.SetPanes(first, &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}))
	for i, n := range x.notes {
		at(second, 1, i+1, n[0])
		at(second, 2, i+1, n[1])
	}
	do(f.SetColWidth(second, "A", "A", 24))
	do(f.SetColWidth(second, "B", "B", 100))
	do(f.SetColStyle(second, "B", wrap))
	do(f.SetDocProps(&excelize.DocProperties{Title: x.title, Creator: "Duiwu", LastModifiedBy: "Duiwu"}))
	if err != nil {
		return nil, fmt.Errorf("cannot fill the workbook: %w", err)
	}
	b, err := f.WriteToBuffer()
	if err != nil {
		return nil, fmt.Errorf("cannot write the workbook: %w", err)
	}
	return b.Bytes(), nil
}
