package plugin

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/internal/feed"
)

const (
	eventPolicies  = "policies"
	eventIncidents = "incidents"
)

// event is a mark on the time axis.
type event struct {
	from, to    time.Time
	title, text string
	tags        []string
}

// events answers an annotation query: what happened in the range that may
// explain a bend in a line.
func (d *Datasource) events(ctx context.Context, s scope.Scope, m *Model, r backend.TimeRange) (data.Frames, error) {
	if r.To.Unix() <= 0 { // over gRPC no range is 1970
		r.To = d.now()
	}
	if r.From.Unix() <= 0 {
		r.From = r.To.AddDate(-1, 0, 0)
	}
	read := d.policies
	if m.Events == eventIncidents {
		read = d.incidents
	}
	all, err := read(ctx, s, m, r)
	if err != nil {
		return nil, err
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].from.Before(all[j].from) })
	var from, to []time.Time
	var titles, texts, tags []string
	for _, e := range all {
		from, to = append(from, e.from), append(to, e.to)
		titles, texts, tags = append(titles, e.title), append(texts, e.text), append(tags, strings.Join(e.tags, ","))
	}
	f := data.NewFrame(m.Events, data.NewField("time", nil, from), data.NewField("timeEnd", nil, to),
		data.NewField("title", nil, titles), data.NewField("text", nil, texts), data.NewField("tags", nil, tags))
	f.Meta = &data.FrameMeta{DataTopic: data.DataTopicAnnotations}
	return data.Frames{f}, nil
}

// policies are the documents issued or repealed in the range, of the units
// asked for and of the national office.
func (d *Datasource) policies(ctx context.Context, s scope.Scope, m *Model, r backend.TimeRange) ([]event, error) {
	const sql = `SELECT toString(reporting_unit), doc_no, argMax(title, _version), arrayMap(x -> toString(x), argMax(topics, _version)), toDateTime(argMax(issued_on, _version), 'Asia/Shanghai') AS issued, toDateTime(ifNull(argMax(repealed_on, _version), toDate32('1970-01-02')), 'Asia/Shanghai') AS repealed
FROM policy_doc_history
WHERE reporting_unit IN {units:Array(String)}
GROUP BY reporting_unit, doc_no
HAVING argMax(_is_deleted, _version) = 0
ORDER BY issued, doc_no`
	rows, err := d.db.Documents(ctx, s, d.unitsOf(s, m), sql, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the policy documents: %w", err)
	}
	defer func() { _ = rows.Close() }()
	inside := func(t time.Time) bool { return !t.Before(r.From) && !t.After(r.To) }
	var out []event
	for rows.Next() {
		var unit, no, title string
		var topics []string
		var issued, repealed time.Time
		if err := rows.Scan(&unit, &no, &title, &topics, &issued, &repealed); err != nil {
			return nil, fmt.Errorf("cannot read the policy documents: %w", err)
		}
		tags := []string{"policy"}
		for _, t := range topics {
			tags = append(tags, pick(m.Lang, d.label("policy_topic", t)))
		}
		who := d.unitName(unit, m.Lang)
		if inside(issued) {
			out = append(out, event{issued, issued, pick(m.Lang, catalogue.Text{Zh: who + "印发文件", En: who + " issues a document"}), title + "（" + no + "）", tags})
		}
		if repealed.Year() > 1970 && inside(repealed) {
			out = append(out, event{repealed, repealed, pick(m.Lang, catalogue.Text{Zh: who + "废止文件", En: who + " repeals a document"}), title + "（" + no + "）", tags})
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the policy documents: %w", err)
	}
	return out, nil
}

// incidents are the months of the monthly feeds that every unit owes which came
// late or not at all: one mark a feed and month, from the due time to the last
// arrival.
func (d *Datasource) incidents(ctx context.Context, sc scope.Scope, m *Model, r backend.TimeRange) ([]event, error) {
	units := d.unitsOf(sc, m)
	now := d.now()
	if r.To.After(now) {
		r.To = now
	}
	var out []event
	for _, s := range d.catalogue.Contract.Feeds {
		if !s.Owed || s.Rhythm != "monthly" {
			continue
		}
		first := map[string]map[string]time.Time{} // month, unit
		begin := time.Date(r.From.Year(), r.From.Month()-2, 1, 0, 0, 0, 0, time.UTC)
		rows, err := d.db.Rows(ctx, sc, units, "SELECT toString(reporting_unit), toString(toStartOfMonth(period)), min(reported_at) FROM "+s.HistoryTable()+" WHERE reporting_unit IN {units:Array(String)} AND period >= {begin:Date32} GROUP BY 1, 2",
			map[string]string{"begin": begin.Format(time.DateOnly)})
		if err != nil {
			return nil, fmt.Errorf("cannot read when months arrived: %w", err)
		}
		for rows.Next() {
			var unit, month string
			var at time.Time
			if err = rows.Scan(&unit, &month, &at); err != nil {
				break
			}
			if first[month] == nil {
				first[month] = map[string]time.Time{}
			}
			first[month][unit] = at
		}
		if err == nil {
			err = rows.Err()
		}
		_ = rows.Close()
		if err != nil {
			return nil, fmt.Errorf("cannot read when months arrived: %w", err)
		}
		for month := begin; !month.After(r.To); month = month.AddDate(0, 1, 0) {
			due, err := d.catalogue.Contract.Calendar.Due(s, feed.Day(month.AddDate(0, 1, -1)))
			if err != nil || due.Before(r.From) || due.After(r.To) {
				continue // the holidays of that year are not in the contract, or it is not due in the range
			}
			if e, ok := d.incident(m, s, month, due, now, first[month.Format(time.DateOnly)], units); ok {
				out = append(out, e)
			}
		}
	}
	return out, nil
}

// incident tells of one feed and month; ok is false when all was in time.
func (d *Datasource) incident(m *Model, s *feed.Spec, month, due, now time.Time, arrived map[string]time.Time, units []string) (e event, ok bool) {
	var late, never []string
	e = event{from: due, to: due, tags: []string{"incident", s.Feed}}
	for _, u := range units {
		info := d.catalogue.Contract.Unit(u)
		if info == nil || !info.ReportsOn(feed.Day(month)) {
			continue
		}
		at, sent := arrived[u]
		switch {
		case !sent:
			never = append(never, d.unitName(u, m.Lang))
			e.to = now
		case !at.Before(due):
			late = append(late, d.unitName(u, m.Lang))
			if at.After(e.to) {
				e.to = at
			}
		}
	}
	if len(late)+len(never) == 0 {
		return e, false
	}
	ym := month.Format("2006-01")
	var parts []string
	for _, x := range []struct {
		units  []string
		zh, en string
	}{{late, "%d 个单位迟报：%s", "%d units late: %s"}, {never, "%d 个单位未报：%s", "%d units silent: %s"}} {
		if len(x.units) > 0 {
			parts = append(parts, fmt.Sprintf(pick(m.Lang, catalogue.Text{Zh: x.zh, En: x.en}), len(x.units), some(x.units, m.Lang)))
		}
	}
	e.title = pick(m.Lang, catalogue.Text{Zh: s.Zh + " " + ym + " 未按时到齐", En: s.En + " " + ym + " not complete in time"})
	e.text = strings.Join(parts, pick(m.Lang, catalogue.Text{Zh: "；", En: "; "}))
	return e, true
}

// some names the first few of many.
func some(names []string, lang string) string {
	const few = 6
	sep := pick(lang, catalogue.Text{Zh: "、", En: ", "})
	if len(names) <= few {
		return strings.Join(names, sep)
	}
	return strings.Join(slices.Clone(names[:few]), sep) + pick(lang, catalogue.Text{Zh: " 等", En: " and others"})
}
