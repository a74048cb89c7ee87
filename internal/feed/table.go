package feed

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"
	"time"
)

// table reads one CSV file of the contract: a header line, then rows; lines that
// begin with # are the file's sources.
type table struct {
	file     string
	problems *Problems
	columns  map[string]int
	extra    []string
	row      []string
	line     int
}

func (t *table) problem(text string) {
	*t.problems = append(*t.problems, Problem{File: t.file, Line: t.line, Text: text})
}

func (t *table) text(column string) string {
	if i, ok := t.columns[column]; ok && i < len(t.row) {
		return t.row[i]
	}
	return ""
}

func (t *table) int(column string) int64 {
	s := t.text(column)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.problem(column + " is not a whole number")
	}
	return n
}

// day reads a date as days since 1970-01-01; open is what an empty cell means.
func (t *table) day(column string, open int32) int32 {
	s := t.text(column)
	if s == "" {
		return open
	}
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		t.problem(column + " is not a date; write 2016-11-11")
		return open
	}
	return Day(d)
}

// Day returns the calendar date of t, in t's own location, as days since 1970-01-01.
func Day(t time.Time) int32 {
	y, m, d := t.Date()
	return int32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

func readTable(fsys fs.FS, file string, ps *Problems, required []string, each func(*table)) {
	t := &table{file: file, problems: ps, columns: map[string]int{}}
	raw, err := fs.ReadFile(fsys, file)
	if err != nil {
		t.problem("the file is missing; add it with the columns " + strings.Join(required, ","))
		return
	}
	r := csv.NewReader(bytes.NewReader(raw))
	r.Comment = '#'
	r.FieldsPerRecord = -1
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		t.line = 1
		t.problem("the header line is missing; begin with " + strings.Join(required, ","))
		return
	}
	known := map[string]bool{}
	for _, c := range required {
		known[c] = true
	}
	for i, c := range head {
		c = strings.Clone(c)
		t.columns[c] = i
		if !known[c] {
			t.extra = append(t.extra, c)
		}
	}
	t.line = 1
	for _, c := range required {
		if _, ok := t.columns[c]; !ok {
			t.problem("column " + c + " is missing from the header")
		}
	}
	n := len(head)
	for {
		t.row, err = r.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		var pe *csv.ParseError
		if errors.As(err, &pe) {
			t.line = pe.Line
			t.problem("this line is not CSV: " + pe.Err.Error())
			return
		}
		t.line, _ = r.FieldPos(0)
		if len(t.row) != n {
			t.problem("this line has " + strconv.Itoa(len(t.row)) + " cells, the header " + strconv.Itoa(n))
			continue
		}
		each(t)
	}
}

// CodeEntry is one code of a list.
type CodeEntry struct {
	Code, Zh, En string
	// Aliases are other ways in which people write it.
	Aliases []string
	// Extra holds the list's own columns, by name.
	Extra map[string]string
}

// List is one list of codes.
type List struct {
	Name    string
	Entries []CodeEntry

	byCode map[string]int
	byText map[string]string
}

// Lookup turns a code, a name in either language or an alias into its code. The
// caller has folded width and trimmed. The result is shared, not a copy of raw,
// and nothing is allocated.
func (l *List) Lookup(raw []byte) (code string, ok bool) {
	code, ok = l.byText[string(raw)]
	return code, ok
}

// Index returns the position of a code in Entries.
func (l *List) Index(code string) (int, bool) {
	i, ok := l.byCode[code]
	return i, ok
}

// Entry returns the entry of a code, or nil.
func (l *List) Entry(code string) *CodeEntry {
	if i, ok := l.byCode[code]; ok {
		return &l.Entries[i]
	}
	return nil
}

// EducationHeader says whether a code of the education list is a category line,
// which is accepted with a warning (rule education_header).
func (l *List) EducationHeader(code string) bool {
	e := l.Entry(code)
	return e != nil && e.Extra["outcome"] == "header"
}

func loadCodeList(fsys fs.FS, file string, ps *Problems) *List {
	l := &List{
		Name:   strings.TrimSuffix(path.Base(file), ".csv"),
		byCode: map[string]int{},
		byText: map[string]string{},
	}
	readTable(fsys, file, ps, []string{"code", "zh", "en", "aliases"}, func(t *table) {
		e := CodeEntry{Code: t.text("code"), Zh: t.text("zh"), En: t.text("en")}
		if a := t.text("aliases"); a != "" {
			e.Aliases = strings.Split(a, "|")
		}
		for _, c := range t.extra {
			if e.Extra == nil {
				e.Extra = map[string]string{}
			}
			e.Extra[c] = t.text(c)
		}
		if e.Code == "" || e.Zh == "" || e.En == "" {
			t.problem("a code needs code, zh and en")
			return
		}
		if _, dup := l.byCode[e.Code]; dup {
			t.problem("code " + e.Code + " stands twice; keep one")
			return
		}
		l.byCode[e.Code] = len(l.Entries)
		l.Entries = append(l.Entries, e)
		for _, text := range append([]string{e.Code, e.Zh, e.En}, e.Aliases...) {
			if other, ok := l.byText[text]; ok && other != e.Code {
				t.problem("“" + text + "” already means code " + other + "; one word has one code")
				continue
			}
			l.byText[text] = e.Code
		}
	})
	if len(l.Entries) == 0 {
		*ps = append(*ps, Problem{File: file, Text: "the list is empty; add its codes"})
	}
	return l
}

// UnitInfo is a provincial unit, the Corps, or the national office.
type UnitInfo struct {
	Code, Zh, ShortZh, Abbr, En, ISO string
	// Type is province, municipality, autonomous_region, sar, corps or national.
	Type string
	// Region is east, middle or west (empty where the measure of balance has none).
	Region string
	// Reports says that the unit pushes every feed; the national office and the
	// units outside the reporting scope do not.
	Reports bool
	// Since and Until bound reporting, days since 1970-01-01, Until not included.
	Since, Until int32
	// TileRow and TileCol place the unit on the national tile grid, from 1.
	TileRow, TileCol int
	Population2020   int64
	// Aliases are other short names people write.
	Aliases []string
}

// ShortEn is the English name for axes and headings, where the whole of some is
// longer than what it names.
func (u *UnitInfo) ShortEn() string {
	switch u.Type {
	case "corps":
		return "Xinjiang Corps"
	case "national":
		return "national office"
	}
	name, _, _ := strings.Cut(u.En, " (")
	return name
}

// National says whether the unit is the national office.
func (u *UnitInfo) National() bool { return u.Type == "national" }

// ReportsOn says whether the unit reports on a day.
func (u *UnitInfo) ReportsOn(day int32) bool { return u.Reports && u.Since <= day && day < u.Until }

func loadUnits(fsys fs.FS, file string, ps *Problems) []UnitInfo {
	var out []UnitInfo
	cols := []string{"code", "zh", "short_zh", "abbr", "en", "iso", "type", "region", "reports", "since", "until", "tile_row", "tile_col", "population_2020", "aliases"}
	readTable(fsys, file, ps, cols, func(t *table) {
		u := UnitInfo{
			Code: t.text("code"), Zh: t.text("zh"), ShortZh: t.text("short_zh"), Abbr: t.text("abbr"),
			En: t.text("en"), ISO: t.text("iso"), Type: t.text("type"), Region: t.text("region"),
			Reports: t.text("reports") == "true",
			Since:   t.day("since", DayMin), Until: t.day("until", DayMax),
			TileRow: int(t.int("tile_row")), TileCol: int(t.int("tile_col")), Population2020: t.int("population_2020"),
		}
		if a := t.text("aliases"); a != "" {
			u.Aliases = strings.Split(a, "|")
		}
		switch u.Region {
		case "", "east", "middle", "west":
		default:
			t.problem("region is east, middle, west or empty")
		}
		if len(u.Code) != 6 || u.Zh == "" || u.En == "" {
			t.problem("a unit needs a code of six digits, zh and en")
		}
		for i := range out {
			if out[i].Code == u.Code {
				t.problem("unit " + u.Code + " stands twice; keep one")
			}
		}
		out = append(out, u)
	})
	sort.Slice(out, func(i, j int) bool { return out[i].Code < out[j].Code })
	return out
}

// Target is a figure that the force is measured against. Targets are data: the
// office changes them, and each says where it comes from and how sure it is.
type Target struct {
	ID, Indicator, Scope string
	Value                float64
	// Unit, Source and Status are in English, UnitZh and so on say the same in Chinese.
	Unit, UnitZh     string
	Source, SourceZh string
	Status, StatusZh string
	Due              string
}

// Verified says whether the source was seen; other targets are shown with a mark.
func (t *Target) Verified() bool { return !strings.HasPrefix(t.Status, "unverified") }

func loadTargets(fsys fs.FS, file string, ps *Problems) []Target {
	var out []Target
	cols := []string{"target_id", "indicator_id", "scope", "value", "unit_zh", "unit", "due", "source_zh", "source", "status_zh", "status"}
	readTable(fsys, file, ps, cols, func(t *table) {
		v, err := strconv.ParseFloat(t.text("value"), 64)
		if err != nil {
			t.problem("value is not a number")
		}
		out = append(out, Target{
			ID: t.text("target_id"), Indicator: t.text("indicator_id"), Scope: t.text("scope"), Value: v,
			Unit: t.text("unit"), UnitZh: t.text("unit_zh"), Source: t.text("source"), SourceZh: t.text("source_zh"),
			Status: t.text("status"), StatusZh: t.text("status_zh"), Due: t.text("due"),
		})
	})
	return out
}

func loadForbidden(fsys fs.FS, file string, ps *Problems) []string {
	seen := map[string]bool{}
	var out []string
	readTable(fsys, file, ps, []string{"name", "class"}, func(t *table) {
		name := strings.ToLower(t.text("name"))
		if name == "" {
			t.problem("name is empty")
			return
		}
		if seen[name] {
			t.problem("“" + name + "” stands twice; keep one")
			return
		}
		seen[name] = true
		out = append(out, name)
	})
	return out
}
