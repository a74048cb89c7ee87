// Package feedtest runs a test of a feed or of a mapping that stands in one
// readable file, a txtar archive: what comes in, which rows must come out, and
// what must be refused. `duiwu check FILE.txtar` and the project's own tests run
// the same files.
//
// The comment above the first file says what the test is about. The files:
//
//	test.yaml       feed and unit, and as_of and now where dates matter
//	input.EXT       the source's file, in any text format; or file: in test.yaml
//	mapping.yaml    how its columns become fields, if they do not by themselves
//	NAME.yaml       a feed file in place of the national one, or a new one;
//	codes/NAME.csv  the same of a code list
//	rows            the accepted rows, as the step lets them pass
//	rejects         the findings that keep rows out, one a line
//	warnings        the findings that do not
//	refused         the sentence by which the whole file is refused
package feedtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/duiwu/duiwu/ingest/mapping"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/strict"
)

// Options say with what tests are run.
type Options struct {
	// Feeds holds the feed files and tables that a test may replace, Catalogue is
	// what they load as.
	Feeds     fs.FS
	Catalogue *feed.Catalogue
	// Step makes the step that judges rows, and what gives it back. Numbers of the
	// test area must pass it: a test holds no other ones.
	Step func(cat *feed.Catalogue, clock func() time.Time) (step flow.Step, release func())
}

// test is test.yaml.
type test struct {
	// Feed and Unit are what the input is of and whose.
	Feed string `yaml:"feed"`
	Unit string `yaml:"unit"`
	// AsOf is effective_from of rows that say none; the day of Now when absent.
	AsOf string `yaml:"as_of,omitempty"`
	// Now is the clock of the test, 2016-11-30T20:00:00+08:00 when absent.
	Now string `yaml:"now,omitempty"`
	// File is the input where it cannot stand in the archive, such as a workbook;
	// its path begins where the archive lies.
	File string `yaml:"file,omitempty"`
}

const defaultNow = "2016-11-30T20:00:00+08:00"

// The sections that say what comes out.
var sections = []string{"rows", "rejects", "warnings", "refused"}

// Result is what a test gave.
type Result struct {
	// Archive is the test with what really came out, as -update writes it.
	Archive []byte
	// Differences are lines of expected and real output: "rows: - …" is missing,
	// "rows: + …" is too much. None means that the test passed.
	Differences []string
}

// Run runs one test; dir is where its file lies. An error says that it is no
// test: strict.Problems name lines of the files inside the archive.
func Run(ctx context.Context, raw []byte, dir string, opt Options) (*Result, error) {
	a := txtar.Parse(raw)
	got, err := run(ctx, a, dir, opt)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	out := &txtar.Archive{Comment: a.Comment}
	for _, f := range a.Files {
		if !slices.Contains(sections, f.Name) {
			out.Files = append(out.Files, f)
		}
	}
	for _, name := range sections {
		want, _ := file(a, name)
		for _, d := range differences(lines(want), lines(got[name])) {
			r.Differences = append(r.Differences, name+": "+d)
		}
		if len(got[name]) > 0 {
			out.Files = append(out.Files, txtar.File{Name: name, Data: got[name]})
		}
	}
	r.Archive = txtar.Format(out)
	return r, nil
}

func file(a *txtar.Archive, name string) ([]byte, bool) {
	for _, f := range a.Files {
		if f.Name == name {
			return f.Data, true
		}
	}
	return nil, false
}

// run returns the sections that come out.
func run(ctx context.Context, a *txtar.Archive, dir string, opt Options) (map[string][]byte, error) {
	var ps strict.Problems
	raw, ok := file(a, "test.yaml")
	if !ok {
		return nil, strict.Problems{{File: "test.yaml", Text: "the test has no test.yaml; add -- test.yaml -- with feed: and unit:"}}
	}
	t := &test{Now: defaultNow}
	d := strict.New("test.yaml", &ps)
	if !d.Decode(raw, t, "feed: worker") {
		return nil, ps
	}
	now, err := time.Parse(time.RFC3339, t.Now)
	if err != nil {
		d.At("now", "now is no moment; write %s", defaultNow)
	}
	asOf := now.In(feed.Shanghai)
	if t.AsOf != "" {
		if asOf, err = time.ParseInLocation(time.DateOnly, t.AsOf, feed.Shanghai); err != nil {
			d.At("as_of", "as_of is no date; write 2016-11-30")
		}
	}
	if len(ps) > 0 {
		return nil, ps
	}
	cat := opt.Catalogue
	over := overlay{base: opt.Feeds, over: map[string][]byte{}}
	var input *txtar.File
	for i := range a.Files {
		switch f := &a.Files[i]; {
		case f.Name == "test.yaml", f.Name == "mapping.yaml", slices.Contains(sections, f.Name):
		case strings.HasPrefix(f.Name, "input."):
			if input != nil || t.File != "" {
				ps = append(ps, strict.Problem{File: f.Name, Text: "the test has two inputs; keep one"})
			}
			input = f
		case strings.HasSuffix(f.Name, ".yaml") || strings.HasSuffix(f.Name, ".csv"):
			over.over[f.Name] = f.Data
		default:
			ps = append(ps, strict.Problem{File: f.Name, Text: "no such section; use test.yaml, input.csv (or .json, .ndjson), mapping.yaml, a feed file, " + strings.Join(sections, ", ")})
		}
	}
	if len(over.over) > 0 {
		if cat, err = feed.Load(over); err != nil {
			return nil, err
		}
	}
	spec := cat.Feed(t.Feed)
	if spec == nil {
		d.At("feed", "there is no feed %q; name one, or add its file to the test", t.Feed)
	}
	if input == nil && t.File == "" {
		ps = append(ps, strict.Problem{File: "input.csv", Text: "the test has no input; add -- input.csv --, or file: to test.yaml"})
	}
	if len(ps) > 0 {
		return nil, ps
	}
	so := sheet.Options{Catalogue: cat, Feed: spec, Unit: t.Unit, AsOf: asOf, Clock: func() time.Time { return now }}
	if raw, ok := file(a, "mapping.yaml"); ok {
		if so.Mapping, err = mapping.Load("mapping.yaml", raw, cat); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(dir, filepath.FromSlash(t.File))
	if input != nil {
		temp, err := os.CreateTemp("", "duiwu-test-*"+filepath.Ext(input.Name))
		if err != nil {
			return nil, fmt.Errorf("cannot write the input of the test: %w", err)
		}
		defer func() { _ = os.Remove(temp.Name()) }() // what is left of it is nobody's
		path = temp.Name()
		if _, err := temp.Write(input.Data); err != nil {
			return nil, errors.Join(err, temp.Close())
		}
		if err := temp.Close(); err != nil {
			return nil, err
		}
	}
	step, release := opt.Step(cat, so.Clock)
	defer release()
	w := &writer{spec: spec, now: now}
	so.Step = &sheet.Trace{Step: step, Row: w.row}
	report, err := check(ctx, path, so)
	var u *sheet.Unusable
	switch {
	case errors.As(err, &u):
		return map[string][]byte{"refused": []byte(u.Zh + "\n" + u.En + "\n")}, nil
	case err != nil:
		return nil, err
	case w.real > 0:
		return nil, fmt.Errorf("cannot run the test: row %d holds an identity number that is not of the test area; use invented persons (PP99xx) only", w.real)
	}
	return w.sections(report), nil
}

func check(ctx context.Context, path string, opt sheet.Options) (*sheet.Report, error) {
	f, err := sheet.Open(path)
	if err != nil {
		return nil, err
	}
	report, err := sheet.Check(ctx, f, opt)
	return report, errors.Join(err, f.Close())
}

// overlay is the feed files with those of a test before them.
type overlay struct {
	base fs.FS
	over map[string][]byte
}

// Open implements fs.FS; only ReadFile and Glob are asked for.
func (o overlay) Open(name string) (fs.File, error) { return o.base.Open(name) }

// ReadFile implements fs.ReadFileFS.
func (o overlay) ReadFile(name string) ([]byte, error) {
	if raw, ok := o.over[name]; ok {
		return raw, nil
	}
	return fs.ReadFile(o.base, name)
}

// Glob implements fs.GlobFS.
func (o overlay) Glob(pattern string) ([]string, error) {
	out, err := fs.Glob(o.base, pattern)
	if err != nil {
		return nil, err
	}
	for name := range o.over {
		if ok, _ := filepath.Match(pattern, name); ok && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

func lines(b []byte) []string {
	b = bytes.TrimRight(b, "\n")
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\n")
}

// differences lists the lines that are missing (-) and too much (+), in order:
// what is left beside the longest common run of lines.
func differences(want, got []string) []string {
	// common[i][j] is the length of the longest common run of want[i:] and got[j:].
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if want[i] == got[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			i, j = i+1, j+1
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+want[i])
			i++
		default:
			out = append(out, "+ "+got[j])
			j++
		}
	}
	return out
}
