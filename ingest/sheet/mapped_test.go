package sheet

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/mapping"
)

// TestMappedSheet: a mapping names the sheet that is read, a hidden one too, and
// a name that no sheet has is refused. What mappings do to rows is held by
// transform/testdata.
func TestMappedSheet(t *testing.T) {
	cat := catalogue(t)
	read := func(yaml, file string) (*Report, error) {
		t.Helper()
		m, err := mapping.Load("m.yaml", []byte(yaml), cat)
		require.NoError(t, err)
		f, err := Open(filepath.Join("testdata", file))
		require.NoError(t, err)
		defer func() { require.NoError(t, f.Close()) }()
		return Check(t.Context(), f, Options{Catalogue: cat, Feed: cat.Feed("worker"), Unit: "310000", Step: pass{}, Mapping: m})
	}
	rows := func(want int, sheet string) {
		t.Helper()
		r, err := read("feed: worker\nsheet: "+sheet+"\ncolumns: []\n", "openpyxl-filter-protected.xlsx")
		require.NoError(t, err)
		require.Equal(t, want, r.Rows)
		require.Empty(t, r.Counts)
	}
	rows(3, "Sheet")
	rows(1, "上月") // hidden as deep as a sheet can be
	_, err := read("feed: worker\nsheet: 下月\ncolumns: []\n", "openpyxl-filter-protected.xlsx")
	require.ErrorContains(t, err, "no sheet of the name")
	_, err = read("feed: org\nsheet: 下月\ncolumns: []\n", "openpyxl-filter-protected.xlsx")
	require.ErrorContains(t, err, "of feed org")
	_, err = read("feed: worker\ncolumns: [{column: 甲, field: name}, {column: 乙, field: sex}]\n", "late-header.csv")
	require.NoError(t, err, "headings of the field's own need no entry")
	_, err = read("feed: worker\ncolumns: [{column: 甲, field: name}]\n", "big5.csv")
	require.ErrorContains(t, err, "the headings that the mapping lists")
}

// TestMappedUnit: a heading that says one unit and a mapping that says another
// are two; a bare number under neither has none.
func TestMappedUnit(t *testing.T) {
	cat := catalogue(t)
	f := func(want, heading, unit, amount string) {
		t.Helper()
		text := "feed: project\ncolumns: [{column: \"" + heading + "\", field: amount_fen"
		if unit != "" {
			text += ", unit: " + unit
		}
		m, err := mapping.Load("m.yaml", []byte(text+"}]\n"), cat)
		require.NoError(t, err)
		path := filepath.Join(t.TempDir(), "f.csv")
		require.NoError(t, os.WriteFile(path, []byte("购买方代码,项目编号,"+heading+"\n52119900MJ0000018T,P-1,"+amount+"\n"), 0o600))
		file, err := Open(path)
		require.NoError(t, err)
		defer func() { require.NoError(t, file.Close()) }()
		r, err := Check(t.Context(), file, Options{Catalogue: cat, Feed: cat.Feed("project"), Unit: "310000", Step: pass{}, Mapping: m})
		require.NoError(t, err)
		got := ""
		r.Findings(func(f Finding) bool {
			if f.Column == "C" {
				got += f.Column + string(rune('0'+f.Row)) + " " + f.Rule
			}
			return true
		})
		require.Equal(t, want, got)
	}
	f("", "价", "万元", "1.2")
	f("", "价(万元)", "万元", "1.2")
	f("", "价(千元)", "", "1.2")
	f("", "价", "分", "120")
	f("", "价", "", "1.2万元")
	f("C2 money_unit", "价", "", "1.2")
	f("C1 money_unit", "价(元)", "万元", "1.2")
	f("C1 money_unit", "合同金额(分)", "元", "1.2")
}
