package feedtest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
)

// writer puts what came out into words. Only tests have it: it writes values.
type writer struct {
	spec *feed.Spec
	now  time.Time
	rows []accepted
	// real is the line of the first identity number that is not of the test area.
	real int
}

type accepted struct {
	place string
	text  string
}

func place(sheetName string, line int) string {
	if sheetName == "" {
		return strconv.Itoa(line)
	}
	return sheetName + "!" + strconv.Itoa(line)
}

// row writes one row: its line, then field=value of what it holds. What every
// row of a clerk's file is given alike is left out.
func (w *writer) row(sheetName string, line int, rec arrow.Record, row int) {
	all := w.spec.All()
	var b strings.Builder
	for i, c := range w.spec.Columns() {
		if c.Field < 0 {
			break
		}
		text := textOf(rec.Column(i), row)
		f := &all[c.Field]
		if f.Kind.Kind == feed.ResidentID && len(text) == 18 && text[2:4] != "99" && w.real == 0 {
			w.real = line
		}
		name := f.Name
		if c.Precision {
			name = c.Name
		}
		switch {
		case text == "", c.Precision && text == "day":
			continue
		case c.Field == feed.FieldSchemaVersion, c.Field == feed.FieldReportingUnit, c.Field == feed.FieldFeed, c.Field == feed.FieldBatchID:
			continue
		case c.Field == feed.FieldOp && text == "U", c.Field == feed.FieldRecordID && strings.HasPrefix(text, "nk-"):
			continue
		case c.Field == feed.FieldReportedAt && text == moment(w.now.Truncate(time.Second).UnixMilli()):
			continue
		}
		fmt.Fprintf(&b, " %s=%s", name, quote(text))
	}
	w.rows = append(w.rows, accepted{place(sheetName, line), b.String()})
}

// quote leaves a text as it is where it ends where it seems to.
func quote(s string) string {
	if strings.ContainsAny(s, " \t\n\"=") {
		return strconv.Quote(s)
	}
	return s
}

func moment(ms int64) string {
	return time.UnixMilli(ms).In(feed.Shanghai).Format(time.RFC3339)
}

// textOf writes a value of a column that Check made.
func textOf(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return ""
	}
	switch a := a.(type) {
	case *array.String:
		return strings.Trim(a.Value(i), "\x01") // the mark of a person as subject
	case *array.Date32:
		return a.Value(i).ToTime().Format(time.DateOnly)
	case *array.Timestamp:
		return moment(int64(a.Value(i)))
	case *array.Int64:
		return strconv.FormatInt(a.Value(i), 10)
	case *array.Decimal128:
		return a.Value(i).ToString(a.DataType().(*arrow.Decimal128Type).Scale)
	case *array.Boolean:
		return strconv.FormatBool(a.Value(i))
	case *array.List:
		from, to := a.ValueOffsets(i)
		var parts []string
		for k := from; k < to; k++ {
			parts = append(parts, textOf(a.ListValues(), int(k)))
		}
		return strings.Join(parts, ",")
	}
	panic("BUG: a checked column of type " + a.DataType().String() + " has no text")
}

// sections writes all of it. A row that the end of the file showed to be wrong
// stands among the rejects only.
func (w *writer) sections(r *sheet.Report) map[string][]byte {
	var rows, rejects, warnings bytes.Buffer
	bad := map[string]bool{}
	r.Findings(func(f sheet.Finding) bool {
		to := &warnings
		if f.Severity == feed.Error.String() {
			to = &rejects
			bad[place(f.Sheet, f.Row)] = true
		}
		dash := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		fmt.Fprintf(to, "%s %s %s %s\n", place(f.Sheet, f.Row), dash(f.Column), dash(f.Field), f.Rule)
		return true
	})
	for _, a := range w.rows {
		if !bad[a.place] && r.Accepted > 0 {
			fmt.Fprintf(&rows, "%s%s\n", a.place, a.text)
		}
	}
	return map[string][]byte{"rows": rows.Bytes(), "rejects": rejects.Bytes(), "warnings": warnings.Bytes()}
}
