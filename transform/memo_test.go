package transform

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A memo of texts that never come again is asked for one block in sixteen, and for
// every block once they do.
func TestAMemoThatKnowsNothingIsSeldomAsked(t *testing.T) {
	m := new(memo)
	next := 0
	f := func(distinct, blocks int) (asked int) {
		const rows = 1024
		for range blocks {
			if !m.worth(rows) {
				continue
			}
			asked++
			for range rows {
				next++
				text := fmt.Append(nil, "text ", next%distinct)
				slot, known := m.find(text, 0)
				if known {
					require.Equal(t, string(text), string(slot.form.text))
				} else {
					m.put(slot, text, form{text: text})
				}
			}
		}
		return asked
	}
	m.gen++
	require.Equal(t, 2, f(1<<40, 17))
	require.Equal(t, 0, f(3, 15))
	require.Equal(t, 64, f(3, 64))
}

// Codes that fall on one place, as 01 and 13 do, do not drive each other out.
func TestTwoCodesOfOnePlaceAreBothRemembered(t *testing.T) {
	m := new(memo)
	m.gen++
	codes := []string{"01", "03", "13"}
	require.Same(t, m.pair(short([]byte("01"))), m.pair(short([]byte("13"))))
	for _, c := range codes {
		slot, known := m.find([]byte(c), 0)
		require.False(t, known)
		m.put(slot, []byte(c), form{text: []byte(c)})
	}
	for _, c := range codes {
		slot, known := m.find([]byte(c), 0)
		require.True(t, known)
		require.Equal(t, c, string(slot.form.text))
	}
}
