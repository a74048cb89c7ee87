package viewer_test

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
)

// A file says what its panel says: the same figures, what is hidden, of which
// definition, as of when and without whom; and no text in it is a formula.
func TestExports(t *testing.T) {
	db := chartstest.New(t, "charts_viewer_export")
	chartstest.Small(t, db)
	db.Insert(t, "demo_site", chartstest.Row{"record_id": "s", "reporting_unit": "310000", "site_id": "S1", "site_name": `=HYPERLINK("http://x","示范")`, "level": "2", "status": "2", "effective_from": "2016-09-30"})
	s := serve(t, plugin.Config{URL: db.DSN(), Today: today, Scope: scope.Everything()})
	file := func(format, title, query string) (int, string, http.Header) {
		t.Helper()
		return get(t, s.URL+"/api/export?"+url.Values{"format": {format}, "title": {title}, "query": {query}}.Encode())
	}
	const byProvince = `{"indicator":"I-01","groupBy":["province"],"format":"table","lang":"zh"}`
	status, body, h := file("csv", "队伍有多大？", byProvince)
	require.Equal(t, 200, status, body)
	require.True(t, strings.HasPrefix(body, "\ufeff单位代码,报送单位,禁毒社工总数（人）\r\n"), body[:80])
	require.Contains(t, h.Get("Content-Disposition"), "duiwu-I-01-20161111.csv")
	for _, want := range []string{"310000,上海,<5\r\n", "540000,西藏,尚无\r\n", "指标,I-01 禁毒社工总数", "定义,", "统计日,2016-11-11", "数据截至,2016-11-04 09:00", "计入单位,", "最近一期未到的单位,", "隐去的单元格,"} {
		require.Contains(t, body, want)
	}
	_, whole, _ := file("csv", "", `{"indicator":"I-01","groupBy":["month"],"format":"series","lang":"en"}`)
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(whole, "\ufeff")))
	r.FieldsPerRecord = -1
	lines, err := r.ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"date", "Anti-drug social workers (persons)"}, lines[0])
	require.Equal(t, []string{"2016-11-11", "8"}, lines[12])

	_, body, _ = file("csv", "", `{"queryType":"list","list":"sites","lang":"zh"}`)
	require.Contains(t, body, `"'=HYPERLINK(""http://x"",""示范"")"`)
	_, body, _ = file("csv", "=1+1", `{"indicator":"I-10","groupBy":["province"],"format":"tiles","lang":"zh"}`)
	require.Contains(t, body, "标题,'=1+1\r\n")
	require.Contains(t, body, "310000,上海,", "the picture is a list of its units")

	status, body, h = file("xlsx", "示范点", `{"queryType":"list","list":"sites","lang":"zh"}`)
	require.Equal(t, 200, status)
	require.Contains(t, h.Get("Content-Type"), "spreadsheetml")
	x, err := excelize.OpenReader(strings.NewReader(body))
	require.NoError(t, err)
	defer func() { require.NoError(t, x.Close()) }()
	require.Equal(t, []string{"数据", "说明"}, x.GetSheetList())
	v, err := x.GetCellValue("数据", "C2")
	require.NoError(t, err)
	require.Equal(t, `=HYPERLINK("http://x","示范")`, v, "a text stays a text")
	formula, err := x.GetCellFormula("数据", "C2")
	require.NoError(t, err)
	require.Empty(t, formula)

	_, body, _ = file("xlsx", "", byProvince)
	x, err = excelize.OpenReader(strings.NewReader(body))
	require.NoError(t, err)
	rows, err := x.GetRows("说明")
	require.NoError(t, err)
	notes := map[string]string{}
	for _, n := range rows {
		notes[n[0]] = n[1]
	}
	require.Contains(t, notes["定义"], "一人在全国只计一次")
	require.Contains(t, notes["最近一期未到的单位"], "北京")

	for _, bad := range [][2]string{{"pdf", byProvince}, {"csv", ""}, {"csv", "[]"}, {"csv", `{"indicator":"I-99"}`}} {
		status, _, _ = file(bad[0], "", bad[1])
		require.Equal(t, 400, status, bad)
	}
}
