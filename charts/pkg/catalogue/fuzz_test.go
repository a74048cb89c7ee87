package catalogue_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
)

// FuzzCompile holds that no text of a query gets into the statement: whatever it
// says, the statement is the same as for another text, and only the parameters
// differ. The datasource refuses texts that are no code, no unit and no dimension
// before they come here; the compiler does not rest on it.
func FuzzCompile(f *testing.F) {
	c := load(f)
	for i, text := range hostile {
		f.Add(i*7, i, text, text)
	}
	days := []time.Time{time.Date(2016, 10, 31, 0, 0, 0, 0, time.UTC), time.Date(2016, 11, 30, 0, 0, 0, 0, time.UTC)}
	f.Fuzz(func(t *testing.T, which, split int, code, unit string) {
		in := c.Indicators[uint(which)%uint(len(c.Indicators))]
		q := catalogue.Query{Indicator: in, Dates: days[:1+uint(which)%2], Now: days[1]}
		if n := uint(split) % uint(len(in.Dimensions)+1); n > 0 {
			q.Split = in.Dimensions[n-1]
		}
		sql := func(code, unit string) (string, error) {
			q := q
			// No code and no unit of the contract begins so.
			q.Codes, q.Units = []string{"zq" + code}, []string{"zq" + unit}
			st, err := c.Compile(q)
			return st.SQL, err
		}
		plain, err := sql("a", "b")
		got, err2 := sql(code, unit)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%s by %q: %v for a plain text, %v for %q and %q", in.ID, q.Split, err, err2, code, unit)
		}
		if got != plain || strings.Contains(got, "zq") {
			t.Fatalf("%s by %q: the text of a query stands in the statement:\n%s", in.ID, q.Split, got)
		}
		q.Split = "zq" + code
		if _, err := c.Compile(q); err == nil {
			t.Fatalf("%s is split by %q", in.ID, q.Split)
		}
	})
}

// hostile are texts that break out of what was not made for them.
var hostile = []string{
	"", "'", "\\", "\\'", "') OR 1=1 --", "', '310000", "\\', \\'310000", "\x00", "a\tb\nc", "}", "{units:Array(String)}", "`", "/*", ";", "\xff", "上海'",
}

// What a parameter holds is what the server reads: no text makes two of a list.
func TestListsReachTheServerAsTheyAre(t *testing.T) {
	db := chartstest.New(t, "charts_lists")
	c := load(t)
	i := slices.IndexFunc(c.Indicators, func(in *catalogue.Indicator) bool { return len(in.Dimensions) > 0 && in.Dimensions[0] != "region" })
	st, err := c.Compile(catalogue.Query{Indicator: c.Indicators[i], Dates: []time.Time{time.Date(2016, 10, 31, 0, 0, 0, 0, time.UTC)}, Units: hostile, Now: time.Now()})
	require.NoError(t, err)
	rows := db.Query(t, "SELECT arrayMap(x -> hex(x), {units:Array(String)}) AS got", map[string]string{"units": st.Params["units"]})
	got := rows[0]["got"]
	var want []any
	for _, text := range hostile {
		want = append(want, fmt.Sprintf("%X", text))
	}
	require.Equal(t, want, got)
}
