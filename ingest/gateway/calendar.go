package gateway

import (
	"net/http"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
)

// maxMonths is how far back a calendar goes.
const maxMonths = 36

type calendar struct {
	Unit  string         `json:"unit"`
	Now   time.Time      `json:"now"`
	Feeds []feedCalendar `json:"feeds"`
}

type feedCalendar struct {
	Feed    string `json:"feed"`
	Zh      string `json:"zh"`
	En      string `json:"en"`
	Rhythm  string `json:"rhythm"`
	DueZh   string `json:"due_zh"`
	DueEn   string `json:"due_en"`
	Owed    bool   `json:"owed"`
	Periods []span `json:"periods"`
}

// span is a month, a quarter or a year of a calendar.
type span struct {
	// Period is 201611, 2016Q4 or 2016.
	Period string `json:"period"`
	// Due is when the last of it is due; nil where the working days of that year
	// are not published yet.
	Due    *time.Time `json:"due_at"`
	Status string     `json:"status"`
	// Records counts records, Late those that came after they were due.
	Records int64      `json:"records"`
	Late    int64      `json:"late"`
	First   *time.Time `json:"first_arrived_at"`
	Last    *time.Time `json:"last_arrived_at"`
}

// The statuses of a span.
const (
	onTime  = "on_time"
	late    = "late"
	missing = "missing" // due, owed, and nothing came
	open    = "open"    // not due yet, nothing came
	nothing = "none"    // nothing came, and it may be that nothing happened: of days it always may
)

// length is how many months a span of a feed has. Of daily and event feeds each
// day is due on its own; their days are shown by the month.
func length(s *feed.Spec) int {
	switch s.Rhythm {
	case "quarterly":
		return 3
	case "yearly":
		return 12
	}
	return 1
}

func spanName(first time.Time, months int) string {
	switch months {
	case 3:
		return first.Format("2006") + "Q" + string(rune('0'+(first.Month()+2)/3))
	case 12:
		return first.Format("2006")
	}
	return first.Format("200601")
}

// calendar answers what a unit owes and what has come.
func (c *call) calendar() error {
	months, err := c.number("months", 13, 1, maxMonths)
	if err != nil {
		return err
	}
	now := c.g.opt.Clock().In(feed.Shanghai)
	unit := c.g.opt.Catalogue.Unit(c.unit)
	out := calendar{Unit: c.unit, Now: now, Feeds: []feedCalendar{}}
	for _, s := range c.g.opt.Catalogue.Feeds {
		if c.feed != nil && s != c.feed || unit.National() && !s.NationalOffice {
			continue
		}
		days, spans := c.g.due(s, now, months)
		came, err := c.g.opt.Database.Arrivals(c.r.Context(), c.unit, s, days)
		if err != nil {
			return databaseAway(err)
		}
		text := s.DueText()
		out.Feeds = append(out.Feeds, feedCalendar{s.Feed, s.Zh, s.En, s.Rhythm, text.Zh, text.En, s.Owed, fill(s, spans, came, unit, now)})
	}
	return c.json(http.StatusOK, out)
}

// begun is a span before it is known what came.
type begun struct {
	first int32
	span
}

// due lists the days of a calendar's last months with their due times, and its
// spans, the newest first.
func (g *Gateway) due(s *feed.Spec, now time.Time, months int) ([]flow.DueDay, []begun) {
	n := length(s)
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	first := month.AddDate(0, -(int(month.Month())-1)%n, 0)
	var days []flow.DueDay
	var spans []begun
	for ; !first.Before(month.AddDate(0, 1-months, 0)) || len(spans) == 0; first = first.AddDate(0, -n, 0) {
		end := first.AddDate(0, n, 0)
		one := begun{first: feed.Day(first), span: span{Period: spanName(first, n)}}
		last, err := g.opt.Catalogue.Calendar.Due(s, feed.Day(end)-1)
		if err == nil {
			last = last.In(feed.Shanghai)
			one.Due = &last
		}
		for d := one.first; d < feed.Day(end); d++ {
			day := flow.DueDay{Day: d, Span: one.first}
			if due, err := g.opt.Catalogue.Calendar.Due(s, d); err == nil {
				day.Due = due
			}
			days = append(days, day)
		}
		spans = append(spans, one)
	}
	return days, spans
}

// fill says of each span what came.
func fill(s *feed.Spec, spans []begun, came []flow.Arrival, unit *feed.UnitInfo, now time.Time) []span {
	by := map[int32]flow.Arrival{}
	for _, a := range came {
		by[a.Span] = a
	}
	out := make([]span, 0, len(spans))
	for _, b := range spans {
		one := b.span
		a, any := by[b.first]
		past := one.Due != nil && one.Due.Before(now)
		byDay := s.Rhythm == "daily" || s.Rhythm == "event"
		switch {
		case any:
			one.Records, one.Late, one.Status = a.Records, a.Late, onTime
			first, last := a.First.In(feed.Shanghai), a.Last.In(feed.Shanghai)
			one.First, one.Last = &first, &last
			// A period is in time with its first records; what is corrected later
			// does not make it late. Each day of the others is due on its own.
			if byDay && a.Late > 0 || !byDay && one.Due != nil && first.After(*one.Due) {
				one.Status = late
			}
		case !past:
			one.Status = open
		case s.Owed && !byDay && (unit.National() || unit.ReportsOn(b.first)):
			one.Status = missing
		default:
			one.Status = nothing
		}
		out = append(out, one)
	}
	return out
}
