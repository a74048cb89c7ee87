package figures

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// grid is a table of rows and columns with one price each.
func grid(rows, columns int, hidden func(r, c int) bool) *cube {
	t := &cube{}
	for r := range rows {
		for c := range columns {
			t.add(Place{Unit: fmt.Sprint(r), Code: fmt.Sprint(c)}, fmt.Sprint("row ", r), fmt.Sprint("column ", c), float64(1+r*columns+c), hidden(r, c))
		}
	}
	return t
}

// Two pairs that each hide one another in a line, joined by a lone cell: no line
// has a single hidden cell, and yet the one between is computable.
func TestACellBetweenTwoCyclesIsGivenOne(t *testing.T) {
	hidden := map[[2]int]bool{{0, 0}: true, {0, 1}: true, {1, 0}: true, {1, 1}: true, // one cycle
		{2, 2}: true, {2, 3}: true, {3, 2}: true, {3, 3}: true, // another
		{0, 2}: true} // a cell between them
	g := grid(4, 4, func(r, c int) bool { return hidden[[2]int{r, c}] })
	require.Equal(t, 2, g.bridge(nil), "the third cell of the first row")
	g.protect()
	require.Equal(t, -1, g.bridge(nil))
	require.Len(t, g.hidden(), 10, "one more is enough")
	require.True(t, g.hidden()[Place{Unit: "0", Code: "3"}], "and it is the cheapest")
}

func TestWhatHasNoCycleStays(t *testing.T) {
	g := grid(1, 3, func(_, c int) bool { return c == 1 })
	g.protect()
	require.Len(t, g.hidden(), 1)
}

// The largest cube is that of unit by unit.
func BenchmarkProtect(b *testing.B) {
	for b.Loop() {
		g := grid(33, 33, func(r, c int) bool { return (r*7+c*3)%11 == 0 })
		g.protect()
	}
}
