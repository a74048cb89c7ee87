package feed

import (
	"io/fs"
	"math"
	"strconv"
)

// DayMin and DayMax stand for an open beginning and an open end.
const (
	DayMin int32 = math.MinInt32
	DayMax int32 = math.MaxInt32
)

// DivisionState says what a division code is on a day.
type DivisionState uint8

const (
	// Unknown codes never were division codes; the test area PP99xx is among them.
	Unknown DivisionState = iota
	InForce
	// Retired codes had been in force before the day.
	Retired
	// NotYet codes come into force after the day.
	NotYet
)

func (s DivisionState) String() string {
	return [...]string{"unknown", "in force", "retired", "not yet in force"}[s]
}

// DivisionRow is one code under one name for one stretch of time.
type DivisionRow struct {
	Code, Name string
	// Level is province, prefecture or county.
	Level string
	// Parent is the code above, empty for a province.
	Parent string
	// From and Until are days since 1970-01-01, Until not included. DayMin: in
	// force in the oldest revision known; DayMax: still in force.
	From, Until int32
	// Successor is the code that took over the largest known part, empty when
	// the code is in force or no source names one.
	Successor string
}

// Divisions is the dated table of GB/T 2260 codes. It is immutable.
type Divisions struct {
	// Rows are sorted by code and then by From; stretches of one code never overlap.
	Rows []DivisionRow
	// first maps a code to its first row.
	first map[uint32]int32
}

// code6 reads six ASCII digits.
func code6(code []byte) (uint32, bool) {
	if len(code) != 6 {
		return 0, false
	}
	var n uint32
	for _, b := range code {
		if b < '0' || b > '9' {
			return 0, false
		}
		n = n*10 + uint32(b-'0')
	}
	return n, true
}

// find returns the row of a code that speaks for a day: the one in force, else
// the latest that had ended, else the first that will begin.
func (d *Divisions) find(code []byte, day int32) (*DivisionRow, DivisionState) {
	n, ok := code6(code)
	if !ok {
		return nil, Unknown
	}
	i, ok := d.first[n]
	if !ok {
		return nil, Unknown
	}
	row, state := &d.Rows[i], NotYet
	for ; int(i) < len(d.Rows) && d.Rows[i].Code == row.Code; i++ {
		r := &d.Rows[i]
		switch {
		case r.From > day:
			return row, state
		case day < r.Until:
			return r, InForce
		}
		row, state = r, Retired
	}
	return row, state
}

// Lookup says what a code is on a day (days since 1970-01-01). It does not allocate.
func (d *Divisions) Lookup(code []byte, day int32) DivisionState {
	_, s := d.find(code, day)
	return s
}

// On returns the row that speaks for a code on a day, nil for an unknown code.
func (d *Divisions) On(code string, day int32) *DivisionRow {
	r, _ := d.find([]byte(code), day)
	return r
}

// Name returns a code's name on a day: its last one when retired, its first one
// when not yet in force, empty for an unknown code.
func (d *Divisions) Name(code string, day int32) string {
	if r := d.On(code, day); r != nil {
		return r.Name
	}
	return ""
}

// Parent returns the code above on a day, empty for a province or an unknown code.
func (d *Divisions) Parent(code string, day int32) string {
	if r := d.On(code, day); r != nil {
		return r.Parent
	}
	return ""
}

// Successor follows the known successors of a code that is retired on a day to
// one that is in force. It returns the code itself when it is in force, and
// empty when the trail ends.
func (d *Divisions) Successor(code string, day int32) string {
	for range 16 { // longer trails are loops in the sources
		r, s := d.find([]byte(code), day)
		if s == InForce {
			return r.Code
		}
		if s != Retired || r.Successor == "" {
			return ""
		}
		code = r.Successor
	}
	return ""
}

// Codes counts the distinct codes.
func (d *Divisions) Codes() int { return len(d.first) }

func loadDivisions(fsys fs.FS, file string, ps *Problems) *Divisions {
	d := &Divisions{first: map[uint32]int32{}}
	var last *DivisionRow
	cols := []string{"code", "name", "level", "parent", "valid_from", "valid_to", "successor"}
	readTable(fsys, file, ps, cols, func(t *table) {
		r := DivisionRow{
			Code: t.text("code"), Name: t.text("name"), Level: t.text("level"), Parent: t.text("parent"),
			From: t.day("valid_from", DayMin), Until: t.day("valid_to", DayMax), Successor: t.text("successor"),
		}
		n, ok := code6([]byte(r.Code))
		switch {
		case !ok || r.Name == "":
			t.problem("a division needs a code of six digits and a name")
			return
		case r.Code[2:4] == "99":
			t.problem("code " + strconv.Itoa(int(n)) + " lies in the reserved test area PP99xx; remove it")
			return
		case r.From >= r.Until:
			t.problem("valid_to must come after valid_from")
		case last != nil && (r.Code < last.Code || r.Code == last.Code && r.From < last.Until):
			t.problem("rows must be sorted by code and date and must not overlap")
		}
		switch r.Level {
		case "province", "prefecture", "county":
		default:
			t.problem("level is province, prefecture or county")
		}
		if _, ok := d.first[n]; !ok {
			d.first[n] = int32(len(d.Rows))
		}
		d.Rows = append(d.Rows, r)
		last = &r
	})
	return d
}
