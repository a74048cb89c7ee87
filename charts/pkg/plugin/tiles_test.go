package plugin

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/grafana/grafana-plugin-sdk-go/data"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the frames that the front end's tests read")

// The front end's tests hold these frames, with the dashboards' overrides, against
// Grafana's own code.
func TestFramesForTheFrontEnd(t *testing.T) {
	d := small(t, "charts_plugin_front")
	frames := map[string]*data.Frame{}
	for name, query := range map[string]string{
		"tiles":  `{"indicator":"I-10","groupBy":["province"],"format":"tiles","lang":"zh"}`,
		"table":  `{"indicator":"I-10","groupBy":["province"],"format":"table","sort":"desc","lang":"zh"}`,
		"months": `{"indicator":"I-01","groupBy":["province","month"],"from":"2016-10","filter":{"units":["310000","320000"]},"format":"series","lang":"zh"}`,
	} {
		f := *ask(t, d, query)
		f.Meta = nil // says when it was computed
		frames[name] = &f
	}
	made, err := json.Marshal(frames)
	require.NoError(t, err)
	const file = "../../src/testdata/frames.json"
	if *update {
		require.NoError(t, os.WriteFile(file, append(made, '\n'), 0o644))
	}
	have, err := os.ReadFile(file)
	require.NoError(t, err)
	require.JSONEq(t, string(have), string(made), "run go test ./charts/pkg/plugin -run FramesForTheFrontEnd -update")
}

// The tile grid has a place for each of the 34 units and the Corps, says what
// each has, and gives each of its texts a colour of its own.
func TestTilesLayOutTheNation(t *testing.T) {
	d := small(t, "charts_plugin_tiles")
	f := ask(t, d, `{"indicator":"I-10","groupBy":["province"],"format":"tiles","lang":"zh"}`)
	require.Len(t, f.Fields, 14)
	require.Equal(t, 9, f.Rows())
	seen := map[string]string{}
	codes := map[string]string{}
	for c, x := range f.Fields[:7] {
		colours := x.Config.Mappings[0].(data.ValueMapper)
		for i := range x.Len() {
			text := x.At(i).(string)
			if text == "" {
				require.Equal(t, "transparent", colours[text].Color)
				continue
			}
			mark, _, _ := strings.Cut(text, " ")
			require.Empty(t, seen[mark], text)
			require.NotEmpty(t, colours[text].Color, text)
			seen[mark] = text + " " + colours[text].Color
			codes[mark] = f.Fields[7+c].At(i).(string)
		}
	}
	require.Len(t, seen, 35)
	require.Equal(t, "310000", codes["沪"])
	require.Empty(t, codes["台"], "there is no page of what does not report")
	require.Equal(t, "沪 13.3 "+tileColours[2], seen["沪"])
	require.Equal(t, "藏 — "+tileNone, seen["藏"], "no value is not zero")
	require.Equal(t, "台 "+tileOutside, seen["台"])
	for _, bad := range []string{
		`{"indicator":"I-10","format":"tiles"}`, `{"indicator":"I-01","groupBy":["province","worker_category"],"format":"tiles"}`,
		`{"queryType":"list","list":"late","format":"tiles"}`, `{"indicator":"I-10","groupBy":["province"],"format":"table","limit":5}`,
	} {
		require.Error(t, d.Check([]byte(bad)), bad)
	}
	best := ask(t, d, `{"indicator":"I-10","groupBy":["province"],"format":"table","sort":"desc","limit":2}`)
	require.Equal(t, 2, best.Rows())
}
