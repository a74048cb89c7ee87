package dashboards

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"

	"github.com/duiwu/duiwu/internal/feed"
)

// The range that every dashboard opens with, as Grafana writes it.
const openFrom, openTo = "now-1y/M", "now"

// opening is that range at a moment.
func opening(now time.Time) backend.TimeRange {
	y, m, _ := now.In(feed.Shanghai).Date()
	return backend.TimeRange{From: time.Date(y-1, m, 1, 0, 0, 0, 0, feed.Shanghai), To: now}
}

// Asked is a query of a shipped dashboard.
type Asked struct {
	// Panel is the title of the panel that asks.
	Panel string
	backend.DataQuery
}

// Opened lists what a dashboard asks when somebody opens it at a moment and has
// chosen nothing yet: over its own range, with the first value of each variable.
func Opened(id, lang string, now time.Time) ([]Asked, error) {
	b, err := fs.ReadFile(FS, File(id, lang))
	if err != nil {
		return nil, fmt.Errorf("cannot read dashboard %s: %w", id, err)
	}
	var m struct {
		Templating struct {
			List []struct {
				Name    string
				Current struct{ Value any }
			}
		}
		Panels []struct {
			Title   string
			Targets []json.RawMessage
		}
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("cannot read dashboard %s: %w", id, err)
	}
	var chosen []string
	for _, v := range m.Templating.List {
		if s, ok := v.Current.Value.(string); ok {
			chosen = append(chosen, "${"+v.Name+"}", s)
		}
	}
	fill := strings.NewReplacer(chosen...)
	var out []Asked
	for _, p := range m.Panels {
		for _, q := range p.Targets {
			out = append(out, Asked{Panel: p.Title, DataQuery: backend.DataQuery{
				RefID: fmt.Sprint(len(out)), JSON: []byte(fill.Replace(string(q))), TimeRange: opening(now)}})
		}
	}
	return out, nil
}
