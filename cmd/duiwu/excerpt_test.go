package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/ingest/sheet"
	"github.com/duiwu/duiwu/internal/feed"
)

// The rows that came back, checked again as they came back, break the same rules:
// nothing that a clerk wrote became another value on the way, and the column that
// says why is no part of it.
func TestRowsToMendAreTheRowsThatCameBack(t *testing.T) {
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	wants, err := filepath.Glob(filepath.Join(corpus, "*.want"))
	require.NoError(t, err)
	tried := 0
	for _, want := range wants {
		in := strings.TrimSuffix(want, ".want")
		raw, err := os.ReadFile(want)
		require.NoError(t, err)
		o := sheetOptions{feed: "worker", unit: "310000", asOf: "2016-11-30", clock: time.Now}
		words := strings.Fields(strings.SplitN(string(raw), "\n", 2)[0])
		for i, w := range words {
			switch w {
			case "--feed":
				o.feed = words[i+1]
			case "--unit":
				o.unit = words[i+1]
			case "--test-area":
				o.testArea = true
			}
		}
		report, err := checkFile(t.Context(), cat, in, "", o)
		if err != nil {
			continue // not usable at all: nothing of it comes back as rows
		}
		why := report.Refusals()
		// What is said of a heading, or of a cell that is no text (a formula, a
		// number as a date), is not in the rows; and a contradiction needs both rows.
		expected, rows := map[string]int{}, 0
		skip := false
		for _, list := range why {
			for _, w := range list {
				switch w.Rule {
				case "unknown_field", "forbidden_field", "duplicate_field", "formula", "type", "money_unit", "conflict", "date_ambiguous":
					skip = true
				}
				expected[w.Rule]++
			}
			rows++
		}
		if skip || rows == 0 {
			continue
		}
		if filepath.Base(in) == "mark.json" {
			continue // one key only: of a workbook the missing columns are said of the heading
		}
		t.Run(filepath.Base(in), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "mend.xlsx")
			file, err := sheet.Open(in)
			require.NoError(t, err)
			defer file.Close()
			n, err := sheet.Excerpt(file, cat.Feed(o.feed), nil, why, out)
			require.NoError(t, err)
			require.Equal(t, rows, n)
			again, err := checkFile(t.Context(), cat, out, "", o)
			require.NoError(t, err)
			got := map[string]int{}
			for _, list := range again.Refusals() {
				for _, w := range list {
					got[w.Rule]++
				}
			}
			require.Equal(t, expected, got)
			require.Equal(t, rows, again.Rows)
			tried++
		})
	}
	require.Greater(t, tried, 8)
}
