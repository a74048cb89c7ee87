package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/xuri/excelize/v2"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/ingest/template"
	"github.com/duiwu/duiwu/internal/feed"
)

const corpus = "../../ingest/sheet/testdata"

// checked runs duiwu check and returns its exit status.
func checked(t testing.TB, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), &environment{stdout: &out, stderr: &errs, getenv: func(string) string { return "" }}, append([]string{"check"}, args...))
	switch {
	case errors.Is(err, errUsage):
		status = 2
	case errors.Is(err, errFindings):
		status = 1
	case err != nil:
		t.Fatalf("duiwu check %v: %v", args, err)
	}
	return status, out.String(), errs.String()
}

type said struct {
	Feed     string
	Rows     int
	Accepted int
	Findings []sheet.Finding
}

// outline writes a report the way the .want files of the corpus do.
func outline(status int, stdout string) string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "exit %d\n", status)
	if status == 2 {
		return b.String()
	}
	var r said
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		return err.Error() + "\n" + stdout
	}
	fmt.Fprintf(b, "rows %d accepted %d\n", r.Rows, r.Accepted)
	for _, f := range r.Findings {
		place := fmt.Sprint(f.Row)
		if f.Sheet != "" {
			place = f.Sheet + "!" + place
		}
		dash := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		fmt.Fprintf(b, "%s %s %s %s\n", place, dash(f.Column), dash(f.Field), f.Rule)
	}
	return b.String()
}

// TestAwkwardFiles reads every file of the corpus; each has beside it what must
// be found. See the README there for which program wrote which. A new file needs
// a .want with its arguments only; -update writes the rest, to be read.
func TestAwkwardFiles(t *testing.T) {
	wants, err := filepath.Glob(filepath.Join(corpus, "*.want"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(wants), 60)
	for _, want := range wants {
		file := strings.TrimSuffix(want, ".want")
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(want)
			require.NoError(t, err)
			args, expected, _ := strings.Cut(string(raw), "\n")
			status, stdout, stderr := checked(t, append([]string{file, "--json"}, strings.Fields(args)...)...)
			if *update {
				expected = outline(status, stdout)
				require.NoError(t, os.WriteFile(want, []byte(args+"\n"+expected), 0o644))
			}
			require.Equal(t, expected, outline(status, stdout), "%s", stderr)
			if status == 2 {
				require.Regexp(t, `\p{Han}.*[A-Za-z]`, stderr, "a refusal speaks both languages")
			}
			for _, number := range []string{"119901", "319902", "529905", "429904", "1380000", "张三", "李四", "王五", "阿依"} {
				require.NotContains(t, stdout+stderr, number, "a report holds no value")
			}
		})
	}
}

func TestCheckSaysWhatIsMissing(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		status, _, stderr := checked(t, args...)
		require.Equal(t, 2, status)
		require.Contains(t, stderr, want)
	}
	file := filepath.Join(corpus, "utf8.csv")
	f("--feed", file)
	f("no feed", file, "--feed", "nobody", "--unit", "310000")
	f("990000", file, "--feed", "worker", "--unit", "990000")
	f("--as-of", file, "--feed", "worker", "--unit", "310000", "--as-of", "yesterday")
	f("nowhere", "nowhere.csv", "--feed", "worker", "--unit", "310000")
	f("national office", file, "--feed", "worker", "--unit", "000000")
}

func TestCheckOfFeedFiles(t *testing.T) {
	status, stdout, _ := checked(t)
	require.Equal(t, 0, status)
	require.Contains(t, stdout, "no problem found")
	status, stdout, _ = checked(t, "../../ingest/feeds")
	require.Equal(t, 0, status)
	require.Contains(t, stdout, "no problem found")
}

// TestCheckTable: columns line up where Chinese characters take two places.
func TestCheckTable(t *testing.T) {
	status, stdout, _ := checked(t, filepath.Join(corpus, "codes.csv"), "--feed", "worker", "--unit", "310000", "--as-of", "2016-11-30", "--test-area")
	require.Equal(t, 1, status)
	require.Contains(t, stdout, strings.Join([]string{
		"位置 place  字段 field                  规则 rule         级别 severity  说明 message",
		"D2          性别 sex                    code_list         error          “性别”不在代码表中，请按代码表填写代码或名称。",
	}, "\n"))
	require.Contains(t, stdout, "禁毒社会工作者：共 4 行，可入库 0 行")
	require.Contains(t, stdout, "worker: 4 rows, 0 acceptable")
}

func TestAnnotatedCopy(t *testing.T) {
	f := func(file, sheetName, cell string, comments int) {
		t.Helper()
		out := filepath.Join(t.TempDir(), "marked.xlsx")
		status, _, stderr := checked(t, filepath.Join(corpus, file), "--feed", "worker", "--unit", "310000", "--as-of", "2016-11-30", "--test-area", "--annotate", out)
		require.Equal(t, 1, status, stderr)
		book, err := excelize.OpenFile(out)
		require.NoError(t, err)
		defer func() { require.NoError(t, book.Close()) }()
		got, err := book.GetComments(sheetName)
		require.NoError(t, err)
		require.Len(t, got, comments)
		require.Equal(t, cell, got[0].Cell)
		id, err := book.GetCellStyle(sheetName, cell)
		require.NoError(t, err)
		style, err := book.GetStyle(id)
		require.NoError(t, err)
		require.NotEmpty(t, style.Fill.Color)
		// The copy is judged as the file was.
		args := []string{"--json", "--feed", "worker", "--unit", "310000", "--as-of", "2016-11-30", "--test-area"}
		_, first, _ := checked(t, append([]string{filepath.Join(corpus, file)}, args...)...)
		_, again, _ := checked(t, append([]string{out}, args...)...)
		if strings.HasSuffix(file, ".xlsx") {
			require.Equal(t, first, again)
		}
	}
	f("hidden-rows.xlsx", "Sheet", "A3", 1)
	f("epoch-1904.xlsx", "Sheet", "E3", 1)
	f("codes.csv", "Sheet1", "D2", 4)
	f("lines.ndjson", "Sheet1", "A3", 3)
	in := filepath.Join(t.TempDir(), "own.csv")
	raw, err := os.ReadFile(filepath.Join(corpus, "codes.csv"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(in, raw, 0o600))
	err = run(t.Context(), &environment{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, getenv: func(string) string { return "" }},
		[]string{"check", in, "--feed", "worker", "--unit", "310000", "--annotate", in})
	require.ErrorContains(t, err, "overwrite")
	now, err := os.ReadFile(in)
	require.NoError(t, err)
	require.Equal(t, raw, now)
}

// TestTemplates: every feed's template reads back empty, and a filled one clean.
func TestTemplates(t *testing.T) {
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	for _, spec := range cat.Feeds {
		t.Run(spec.Feed, func(t *testing.T) {
			var raw, again bytes.Buffer
			require.NoError(t, template.Write(&raw, cat, spec))
			require.NoError(t, template.Write(&again, cat, spec))
			path := filepath.Join(t.TempDir(), "t.xlsx")
			require.NoError(t, os.WriteFile(path, raw.Bytes(), 0o600))
			args := []string{path, "--json", "--feed", spec.Feed, "--unit", "310000", "--as-of", "2016-11-30", "--test-area"}
			status, stdout, stderr := checked(t, args...)
			require.Equal(t, "exit 0\nrows 0 accepted 0\n", outline(status, stdout))
			require.Contains(t, stderr, "example")

			// Two rows below the example: the example's own content, told apart
			// by the first field that may be anything.
			book, err := excelize.OpenFile(path)
			require.NoError(t, err)
			name := book.GetSheetName(0)
			for i, text := range sheet.Example(cat, spec) {
				f := &spec.Fields[i]
				cell := fmt.Sprintf("%s%d", sheet.ColumnName(i), template.ExampleLine+1)
				switch f.Kind.Kind {
				case feed.PersonName, feed.Text:
					text = "甲乙"
				case feed.Key:
					text = "K-1"
				case feed.ResidentID:
					text = "319902198512310029"
				case feed.Birth:
					text = "1985-12-31"
				case feed.Money, feed.Pay:
					text = "3600元"
				case feed.Subject:
					text = "51319900MJ00000266"
				case feed.Integer:
					require.NoError(t, book.SetCellValue(name, cell, 3))
					continue
				}
				if f.Name == "sex" {
					text = "女"
				}
				if day, err := time.Parse(time.DateOnly, text); err == nil && !f.Partial {
					require.NoError(t, book.SetCellValue(name, cell, day))
					continue
				}
				require.NoError(t, book.SetCellStr(name, cell, text))
			}
			require.NoError(t, book.Save())
			require.NoError(t, book.Close())
			_, stdout, _ = checked(t, args...)
			var r said
			require.NoError(t, json.Unmarshal([]byte(stdout), &r))
			require.Equal(t, 1, r.Rows)
			for _, f := range r.Findings {
				require.Contains(t, []string{"out_of_range", "org_type_mismatch", "evaluator_self", "id_unchanged"}, f.Rule, "%+v", f)
			}
		})
	}
}

func TestTemplateHolds(t *testing.T) {
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	spec := cat.Feed("worker")
	var raw bytes.Buffer
	require.NoError(t, template.Write(&raw, cat, spec))
	book, err := excelize.OpenReader(&raw)
	require.NoError(t, err)
	defer func() { require.NoError(t, book.Close()) }()
	name := book.GetSheetName(0)
	require.Equal(t, []string{"禁毒社会工作者", "代码表", "填报说明"}, book.GetSheetList())
	panes, err := book.GetPanes(name)
	require.NoError(t, err)
	require.True(t, panes.Freeze)
	checks, err := book.GetDataValidations(name)
	require.NoError(t, err)
	lists, dates := 0, 0
	for _, c := range checks {
		switch c.Type {
		case "list":
			lists++
		case "date":
			dates++
		}
	}
	require.Equal(t, 8, lists, "six code lists and two truth values")
	require.Equal(t, 1, dates)
	style, err := book.GetColStyle(name, "A")
	require.NoError(t, err)
	s, err := book.GetStyle(style)
	require.NoError(t, err)
	require.Equal(t, 49, s.NumFmt, "the column of identity numbers is text")
}
