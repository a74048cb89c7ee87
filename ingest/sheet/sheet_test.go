package sheet

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/flow/flowtest"
	"github.com/duiwu/duiwu/internal/value"
)

// pass is a step that finds nothing: the reader's own findings are left. Its
// output has no rows, since the reader asks those for warnings only.
type pass struct{}

func (pass) Apply(_ context.Context, in flow.Cut) (flow.Cut, error) {
	in.Parts = nil
	return in, nil
}

func catalogue(t testing.TB) *feed.Catalogue {
	t.Helper()
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	return cat
}

func judge(t testing.TB, cat *feed.Catalogue, raw []byte, feedName string) (*Report, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { require.NoError(t, f.Close()) }()
	mem := flowtest.Memory()
	defer mem.AssertSize(t, 0)
	return Check(t.Context(), f, Options{Catalogue: cat, Feed: cat.Feed(feedName), Unit: "310000", Step: pass{}, Mem: mem})
}

// refused says that a file is refused with a sentence in both languages.
func refused(t *testing.T, want string, raw []byte) {
	t.Helper()
	_, err := judge(t, catalogue(t), raw, "worker")
	var u *Unusable
	require.ErrorAs(t, err, &u)
	require.Contains(t, u.En, want)
	require.NotEmpty(t, u.Zh)
}

func workbook(t testing.TB, parts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	have := map[string]bool{}
	put := func(name, text string) {
		w, err := z.Create(name)
		require.NoError(t, err)
		_, err = io.WriteString(w, text)
		require.NoError(t, err)
		have[name] = true
	}
	for i := 0; i < len(parts); i += 2 {
		put(parts[i], parts[i+1])
	}
	if !have["xl/workbook.xml"] {
		put("xl/workbook.xml", `<workbook><sheets><sheet name="s" sheetId="1" r:id="r1"/></sheets></workbook>`)
	}
	if !have["xl/_rels/workbook.xml.rels"] {
		put("xl/_rels/workbook.xml.rels", `<Relationships><Relationship Id="r1" Type="x/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="r2" Type="x/sharedStrings" Target="sharedStrings.xml"/></Relationships>`)
	}
	require.NoError(t, z.Close())
	return b.Bytes()
}

// rowsXML writes rows of inline texts.
func rowsXML(rows ...string) string {
	var b strings.Builder
	b.WriteString("<worksheet><sheetData>")
	for _, r := range rows {
		b.WriteString("<row>")
		for c := range strings.SplitSeq(r, ",") {
			fmt.Fprintf(&b, `<c t="inlineStr"><is><t>%s</t></is></c>`, c)
		}
		b.WriteString("</row>")
	}
	b.WriteString("</sheetData></worksheet>")
	return b.String()
}

const sheetPart = "xl/worksheets/sheet1.xml"

func TestHostileFiles(t *testing.T) {
	head := "公民身份号码,姓名,性别"
	refused(t, "zip bomb", workbook(t, sheetPart, strings.Repeat("<row/>", 20<<20)))
	refused(t, "256 KB", workbook(t, sheetPart, rowsXML(head, strings.Repeat("x", 10<<20))))
	refused(t, "256 KB", []byte(head+"\n1,"+strings.Repeat("x", 10<<20)+",1\n"))
	refused(t, "DOCTYPE", workbook(t, sheetPart, `<!DOCTYPE x [<!ENTITY a "a">]><worksheet/>`))
	refused(t, "damaged", workbook(t, sheetPart, `<worksheet><sheetData><row><c t="inlineStr"><is><t>&a;</t></is></c></row></sheetData></worksheet>`))
	refused(t, "leads out", workbook(t, "../x", "x"))
	refused(t, "leads out", workbook(t, `..\x`, "x"))
	refused(t, "leads out", workbook(t, "/etc/x", "x"))
	refused(t, "leads out", workbook(t, `C:\x`, "x"))
	refused(t, "two parts", workbook(t, sheetPart, "<a/>", "XL/worksheets/sheet1.xml", "<a/>"))
	refused(t, "damaged", workbook(t)) // its sheet is missing
	refused(t, "damaged", workbook(t, sheetPart, strings.Repeat("<a>", 1000)))
	refused(t, "damaged", workbook(t, sheetPart, `<worksheet><sheetData><row r="99999999999"/></sheetData></worksheet>`))
	refused(t, "damaged", workbook(t, sheetPart, `<worksheet><sheetData><row><c r="ZZZZZ1"><v>1</v></c></row></sheetData></worksheet>`))
	refused(t, "UTF-16", workbook(t, sheetPart, "\xff\xfe<\x00"))
	refused(t, "xlsb", workbook(t, "xl/workbook.bin", ""))
	refused(t, "ODS", workbook(t, "content.xml", ""))
	refused(t, "no workbook", func() []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		_, _ = z.Create("x")
		_ = z.Close()
		return b.Bytes()
	}())
	refused(t, "never ends", []byte(head+"\n\"1\n"+strings.Repeat("x\n", 1<<20)))
	refused(t, "too long", []byte(strings.Repeat(",", 1<<20)))
	refused(t, "not JSON", []byte(strings.Repeat("[", 1<<20)))
	refused(t, "too large", []byte(`{"a":"`+strings.Repeat("x", 8<<20)+`"}`))
	refused(t, "neither text", []byte("a\x00b"))
	refused(t, "archive", []byte("\x1f\x8b\x08\x00"))
	refused(t, "damaged", []byte("\xff\xff\xff\xff\xff\xff\xff\x7f"))
	refused(t, "damaged", []byte("PAR1xxxxxxxx\xff\xff\xff\x7fPAR1"))
	refused(t, "encrypted", []byte("PARExxxxxxxx"))
}

// TestLyingSize: a part that is larger than its directory entry says.
func TestLyingSize(t *testing.T) {
	b := &bounded{io.NopCloser(strings.NewReader("12345")), 4}
	_, err := io.ReadAll(b)
	require.ErrorIs(t, err, errTooMuch)
}

func TestMoneyHasAUnit(t *testing.T) {
	f := func(want, heading, amount string) {
		t.Helper()
		r, err := judge(t, catalogue(t), []byte("购买主体代码,项目编号,"+heading+"\n52119900MJ0000018T,P-1,\""+amount+"\"\n"), "project")
		require.NoError(t, err)
		got := ""
		r.Findings(func(f Finding) bool {
			if f.Row == 2 {
				got += f.Column + " " + f.Rule
			}
			return true
		})
		require.Equal(t, want, got)
	}
	f("", "合同金额(分)", "3500")
	f("", "合同金额（万元）", "1.2")
	f("", "合同金额", "1.2万元")
	f("C money_unit", "合同金额", "35")
	f("", "amount_fen", "35")
}

func TestNumberCells(t *testing.T) {
	f := func(want string, kind feed.Kind, c cell, date1904 bool) {
		t.Helper()
		c.kind = numberCell
		got, ambiguous := numberText(&c, &feed.Field{Kind: feed.KindName{Kind: kind}}, date1904)
		if ambiguous {
			got = "?"
		}
		require.Equal(t, want, got)
	}
	f("2016-11-11", feed.Date, cell{text: "42685", style: dateStyle}, false)
	f("2016-11-11", feed.Date, cell{text: "41223", style: dateStyle}, true)
	f("2016-11-11", feed.Date, cell{text: "41223"}, true)
	f("42685", feed.Date, cell{text: "42685"}, false)
	f("2016-11-11T12:00:00", feed.Time, cell{text: "42685.5", style: dateTimeStyle}, false)
	f("20161111", feed.Date, cell{text: "20161111"}, false)
	f("?", feed.Period, cell{text: "2016.1"}, false)
	f("2016.11", feed.Period, cell{text: "2016.11"}, false)
	f("0.3", feed.Tenths, cell{text: "0.30000000000000004"}, false)
	f("120000", feed.Integer, cell{text: "1.2E5"}, false)
	f("13800000001", feed.Mobile, cell{text: "1.3800000001E10"}, false)
	f("1.19901198001153E+17", feed.ResidentID, cell{text: "1.19901198001153E+17"}, false)
	f("119901198001153013", feed.ResidentID, cell{text: "119901198001153013"}, false)
	f("01", feed.Code, cell{text: "1", pad: 2}, false)
}

func TestStyles(t *testing.T) {
	f := func(want styleKind, id, code string) {
		t.Helper()
		require.Equal(t, want, styleOf(id, code).kind, code)
	}
	f(dateStyle, "14", "")
	f(dateStyle, "31", "")
	f(monthStyle, "57", "")
	f(dateStyle, "164", `yyyy"年"m"月"d"日";@`)
	f(monthStyle, "164", `yyyy"年"m"月"`)
	f(dateTimeStyle, "164", `yyyy\-mm\-dd hh:mm`)
	f(timeStyle, "164", `[h]:mm:ss`)
	f(generalStyle, "164", `0.00E+00`)
	f(generalStyle, "164", `#,##0.00"元"`)
	f(generalStyle, "164", `[Red]General`)
	f(generalStyle, "164", `0.00"days"`)
	require.Equal(t, int8(4), styleOf("164", "0000").pad)
}

func TestColumnNames(t *testing.T) {
	for i, want := range map[int]string{0: "A", 25: "Z", 26: "AA", 701: "ZZ", 702: "AAA", 16383: "XFD"} {
		require.Equal(t, want, ColumnName(i))
		got, ok := columnOf([]byte(want + "7"))
		require.True(t, ok)
		require.Equal(t, i, got)
	}
}

// TestKeysSpill: rows found twice are the same when they waited in files.
func TestKeysSpill(t *testing.T) {
	var k keys
	defer k.close()
	for i := range uint64(1000) {
		require.NoError(t, k.add(entry{key: (i % 600) << 50, content: i % 300, place: i}))
		if i == 500 {
			require.NoError(t, k.spill())
		}
	}
	n, same := 0, 0
	require.NoError(t, k.twice(func(first, again entry) {
		n++
		require.Equal(t, first.place+600, again.place)
		if first.content == again.content {
			same++
		}
	}))
	require.Equal(t, 400, n)
	require.Equal(t, 400, same)
}

func TestRecordIDHoldsNoDigits(t *testing.T) {
	id := RecordID([]byte("k"), "310000", "worker", []byte("119901198001153013"))
	require.Equal(t, id, RecordID([]byte("k"), "310000", "worker", []byte("119901198001153013")))
	require.NotEqual(t, id, RecordID([]byte("l"), "310000", "worker", []byte("119901198001153013")))
	require.Len(t, id, 35)
	require.False(t, strings.ContainsAny(id, "0123456789"))
}

// FuzzRead reads anything as a file: never a panic, never an error that is not
// a sentence for people.
func FuzzRead(f *testing.F) { fuzz(f, "") }

// The readers each have a target of their own, so that every one gets its time.
func FuzzCSV(f *testing.F)     { fuzz(f, "csv") }
func FuzzXLSX(f *testing.F)    { fuzz(f, "xlsx") }
func FuzzJSON(f *testing.F)    { fuzz(f, "json") }
func FuzzArrow(f *testing.F)   { fuzz(f, "arrow") }
func FuzzParquet(f *testing.F) { fuzz(f, "parquet") }

func fuzz(f *testing.F, format string) {
	files, err := filepath.Glob("testdata/*")
	require.NoError(f, err)
	for _, name := range files {
		raw, err := os.ReadFile(name)
		require.NoError(f, err)
		_, is, err := openSource(bytes.NewReader(raw), int64(len(raw)))
		if strings.HasSuffix(name, ".want") || len(raw) > 40<<10 || format != "" && (err != nil || string(is) != format) {
			continue
		}
		f.Add(raw)
	}
	cat := catalogue(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 || len(raw) > 1<<20 {
			return
		}
		src, is, err := openSource(bytes.NewReader(raw), int64(len(raw)))
		if err == nil {
			file := &File{src: src, Format: is}
			_, err = Check(t.Context(), file, Options{Catalogue: cat, Feed: cat.Feed("worker"), Unit: "310000", Step: pass{}})
			if e := src.close(); err == nil {
				err = e
			}
		}
		var u *Unusable
		if err != nil && !errors.As(err, &u) {
			t.Fatalf("%v is no sentence for people", err)
		}
	})
}

// FuzzSheetXML reads any text as the sheet of a workbook: the packing would
// keep a fuzzer from it.
func FuzzSheetXML(f *testing.F) {
	f.Add(rowsXML("公民身份号码,姓名", "1,2"))
	f.Add(`<x:worksheet xmlns:x="y"><x:sheetData><x:row r="7" hidden="1"><x:c r="B7" t="s"><x:v>0</x:v><x:f>A1</x:f></x:c></x:row></x:sheetData></x:worksheet>`)
	f.Add(`<?xml version="1.0"?><!-- x --><a b='>'><![CDATA[<]]>&#x4e00;</a>`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, "PK") {
			return
		}
		raw := workbook(t, sheetPart, text, "xl/sharedStrings.xml", `<sst><si><t>姓名</t></si></sst>`)
		src, _, err := openSource(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			var u *Unusable
			require.ErrorAs(t, err, &u)
			return
		}
		var r row
		for err == nil {
			err = src.next(&r)
		}
		var u *Unusable
		if !errors.Is(err, io.EOF) {
			require.ErrorAs(t, err, &u)
		}
		require.NoError(t, src.close())
	})
}

// FuzzSuggest proposes a mapping for anything that can be read: what comes out
// loads, and holds none of the numbers that it was made from.
func FuzzSuggest(f *testing.F) {
	for _, name := range []string{"utf8.csv", "wide-headings.csv", "crossed.csv", "lines.ndjson", "repeated-header.csv", "openpyxl.xlsx"} {
		raw, err := os.ReadFile("testdata/" + name)
		require.NoError(f, err)
		f.Add(raw)
	}
	cat := catalogue(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 || len(raw) > 1<<18 {
			return
		}
		src, is, err := openSource(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		defer func() { _ = src.close() }()
		var out bytes.Buffer
		if err := Suggest(t.Context(), &out, &File{Path: "f", src: src, Format: is}, cat, cat.Feed("worker"), "310000"); err != nil {
			var u *Unusable
			require.ErrorAs(t, err, &u)
			return
		}
		_, err = mapping.Load("m", out.Bytes(), cat)
		require.NoError(t, err, out.String())
		for line := range strings.SplitSeq(out.String(), "\n") {
			require.False(t, value.HoldsPersonalNumber([]byte(line)), line)
		}
	})
}
