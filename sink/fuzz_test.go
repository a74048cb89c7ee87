package sink

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzChoice holds that what an operator asks for stands in the parameters alone:
// the condition is the same whatever the texts are.
func FuzzChoice(f *testing.F) {
	for _, v := range hostile {
		f.Add(v, v, v, v, v)
	}
	f.Fuzz(func(t *testing.T, unit, feedName, rule, batch, topic string) {
		c := Choice{Unit: "u" + unit, Feed: "f" + feedName, Rule: "r" + rule, Batch: "b" + batch, Topic: "t" + topic}
		plain := Choice{Unit: "u", Feed: "f", Rule: "r", Batch: "b", Topic: "t"}
		got, params := c.where()
		want, _ := plain.where()
		if got != want {
			t.Fatalf("a text stands in the condition: %s", got)
		}
		for name, v := range params {
			if strings.ContainsAny(v, "\t\n\r\x00") {
				t.Fatalf("parameter %s ends inside its text: %q", name, v)
			}
		}
	})
}

var hostile = []string{
	"", "'", `\`, `\'`, "') OR 1=1 --", "a\tb", "a\nb\r", "\x00", "{x:String}", "`", "/*", "\b\f\v\x1b", `\N`, `\t`, "\xff", "上海'",
}

// What a parameter holds is what the server reads, by both ways to it.
func TestTextsReachTheServerAsTheyAre(t *testing.T) {
	s := fresh(t, "demo_site")
	for _, v := range hostile {
		var got string
		require.NoError(t, s.rows(t.Context(), "SELECT {v:String}", params{"v": text(v)}, func(scan func(...any) error) error { return scan(&got) }))
		require.Equal(t, v, got)
		require.NoError(t, s.exec(t.Context(), "SELECT throwIf({v:String} != unhex({h:String}))", params{"v": text(v), "h": hex.EncodeToString([]byte(v))}))
	}
}
