package feed

import (
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"time"
)

// Shanghai is the time zone of every due time. China keeps one offset and no
// summer time since 1992, so no zone file is needed.
var Shanghai = time.FixedZone("+08:00", 8*60*60)

var rhythms = map[string]struct{ zh, en string }{
	"daily":     {"次一工作日 08:00 前", "by 08:00 of the next working day"},
	"monthly":   {"次月第 5 个工作日内", "by the end of the 5th working day of the next month"},
	"quarterly": {"季后 10 日内，遇休息日顺延至下一工作日", "by the 10th of the month after the quarter, or the next working day"},
	"yearly":    {"次年 1 月 31 日前，遇休息日顺延至下一工作日", "by 31 January of the next year, or the next working day"},
	"event":     {"发生后 5 个自然日内，遇休息日顺延至下一工作日", "within 5 days of the event, or the next working day"},
}

func isRhythm(s string) bool { _, ok := rhythms[s]; return ok }

// Rhythms lists what a feed file may say under rhythm.
func Rhythms() []string {
	out := make([]string, 0, len(rhythms))
	for r := range rhythms {
		out = append(out, r)
	}
	sort.Strings(out)
	return out
}

// DueText says in both languages when a feed's records are due.
func (s *Spec) DueText() Lingual {
	r := rhythms[s.Rhythm]
	return Lingual{Zh: r.zh, En: r.en}
}

// Calendar knows China's working days: Monday to Friday, without the public
// holidays and with the make-up days of each year's arrangement.
type Calendar struct {
	days  map[int32]bool // true: a make-up working day, false: a day off
	years map[int]bool
}

func loadCalendar(fsys fs.FS, file string, ps *Problems) *Calendar {
	c := &Calendar{days: map[int32]bool{}, years: map[int]bool{}}
	readTable(fsys, file, ps, []string{"date", "kind", "zh", "en", "source"}, func(t *table) {
		d := t.day("date", DayMin)
		if d == DayMin {
			return
		}
		if _, dup := c.days[d]; dup {
			t.problem("this date stands twice; keep one")
		}
		switch t.text("kind") {
		case "off":
			c.days[d] = false
		case "work":
			c.days[d] = true
		default:
			t.problem("kind is off (a holiday) or work (a make-up working day)")
		}
		// A year is known when its own arrangement is listed; New Year's Day may
		// be off in December of the year before.
		if date := dateOf(d); date.Month() == time.October {
			c.years[date.Year()] = true
		}
	})
	return c
}

func dateOf(day int32) time.Time { return time.Unix(int64(day)*86400, 0).UTC() }

// Years lists the years whose arrangement is known.
func (c *Calendar) Years() []int {
	var out []int
	for y := range c.years {
		out = append(out, y)
	}
	sort.Ints(out)
	return out
}

// WorkingDay says whether people work on a day (days since 1970-01-01). A year
// that holidays.csv does not hold is an error, not a guess.
func (c *Calendar) WorkingDay(day int32) (bool, error) {
	d := dateOf(day)
	if !c.years[d.Year()] {
		return false, fmt.Errorf("cannot tell working days of %d: its holiday arrangement is not in holidays.csv", d.Year())
	}
	if work, ok := c.days[day]; ok {
		return work, nil
	}
	return d.Weekday() != time.Saturday && d.Weekday() != time.Sunday, nil
}

// next returns the first working day from day on.
func (c *Calendar) next(day int32) (int32, error) {
	for {
		ok, err := c.WorkingDay(day)
		if err != nil || ok {
			return day, err
		}
		day++
	}
}

// Due returns the moment by which the records of a period are due; one that
// arrives later is late. The period is any day inside it (days since
// 1970-01-01); for event feeds it is the day of the event.
func (c *Calendar) Due(s *Spec, period int32) (time.Time, error) {
	y, m, _ := dateOf(period).Date()
	var last int32
	var err error
	switch s.Rhythm {
	case "daily":
		if last, err = c.next(period + 1); err != nil {
			return time.Time{}, dueTrouble(s, err)
		}
		ly, lm, ld := dateOf(last).Date()
		return time.Date(ly, lm, ld, 8, 0, 0, 0, Shanghai), nil
	case "monthly":
		last = Day(time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC)) - 1
		for range 5 {
			if last, err = c.next(last + 1); err != nil {
				return time.Time{}, dueTrouble(s, err)
			}
		}
	case "quarterly":
		q := (m-1)/3*3 + 4
		last, err = c.next(Day(time.Date(y, q, 10, 0, 0, 0, 0, time.UTC)))
	case "yearly":
		last, err = c.next(Day(time.Date(y+1, time.January, 31, 0, 0, 0, 0, time.UTC)))
	case "event":
		last, err = c.next(period + 5)
	default:
		return time.Time{}, fmt.Errorf("cannot compute due time of feed %s: unknown rhythm %s", s.Feed, strconv.Quote(s.Rhythm))
	}
	if err != nil {
		return time.Time{}, dueTrouble(s, err)
	}
	// The whole last day counts: due at the midnight that ends it.
	ly, lm, ld := dateOf(last).Date()
	return time.Date(ly, lm, ld+1, 0, 0, 0, 0, Shanghai), nil
}

func dueTrouble(s *Spec, err error) error {
	return fmt.Errorf("cannot compute due time of feed %s: %w", s.Feed, err)
}
