package generate

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// tally is what a unit sent, as far as the indicators of data quality ask.
type tally struct {
	received, rejected int64
	byFeed             [nFeeds]struct{ received, rejected, identity, required int64 }
	// first is the first accepted report of each month's batch, 0 when none came.
	first [nFeeds][months]int64
	// versions counts stored versions by the month in which they were reported,
	// mended those of op C or V.
	versions, mended map[string]int64
}

func (t *tally) accept(r *rec, outcome string) {
	t.received++
	t.byFeed[r.feed].received++
	if outcome == duplicate {
		return
	}
	if m := r.month; m >= 0 && (t.first[r.feed][m] == 0 || r.at < t.first[r.feed][m]) {
		t.first[r.feed][m] = r.at
	}
	if t.versions == nil {
		t.versions, t.mended = map[string]int64{}, map[string]int64{}
	}
	month := clock(r.at).Format("2006-01")
	t.versions[month]++
	if op := string(r.get(eOp)); op == "C" || op == "V" {
		t.mended[month]++
	}
}

func (t *tally) refuse(f feedID, rule string) {
	t.received++
	t.rejected++
	b := &t.byFeed[f]
	b.received++
	b.rejected++
	switch {
	case rule == "required":
		b.required++
	case strings.HasPrefix(rule, "ric_"):
		b.identity++
	}
}

// Parts are a figure's numerator and denominator; a count has no denominator.
type Parts struct{ N, M float64 }

// Oracle holds what every indicator must say at one month's end: by indicator,
// or indicator|dimension|code, and by unit, "" being the nation.
type Oracle struct {
	Month, Day string
	Figures    map[string]map[string]Parts
}

func (o *Oracle) add(key, unit string, n, m float64) {
	for _, u := range []string{unit, ""} {
		by := o.Figures[key]
		if by == nil {
			by = map[string]Parts{}
			o.Figures[key] = by
		}
		by[u] = Parts{by[u].N + n, by[u].M + m}
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// What a person's records leave out.
func (p *person) insuranceKnown() bool { return p.n%11 != 3 }
func (p *person) insured() bool        { return p.n%9 != 0 }
func (p *person) majorKnown() bool     { return p.n%17 != 5 }
func (p *person) entryKnown() bool     { return p.n%23 != 7 }
func (p *person) teaches() bool        { return p.trainer || p.n%41 == 0 }
func (p *person) form() string         { return []string{"01", "01", "01", "02", "03", "09"}[p.n%6] }

// level is the highest certificate that stands on a day.
func (p *person) level(day int32) byte {
	best := byte('0')
	for i := range p.ncerts {
		if c := &p.certs[i]; c.issued <= day && c.status != '4' {
			best = max(best, c.level)
		}
	}
	return best
}

// hours are those that a person earned in the months from one to another.
func (g *Generator) hours(u *unit, p *person, from, to int) float64 {
	sum := 0.0
	for m := from; m <= to; m++ {
		for i := range p.natt {
			if p.att[i].month == m {
				sum += []float64{24, 40, 60}[u.classOf(p.n)%3]
			}
		}
		sum += 2 * float64(g.drills(u, p, m))
	}
	return sum
}

func (g *Generator) year(day int32) int {
	n, _ := strconv.Atoi(g.days[day-dayMin][:4]) // days are written by us
	return n
}

// fullYears counts birthdays: of a date, or of a day in service.
func (g *Generator) fullYears(from, to int32) int {
	years := g.year(to) - g.year(from)
	if g.days[to-dayMin][5:] < g.days[from-dayMin][5:] {
		years--
	}
	return years
}

func band(years int, from map[string]int) string {
	best, at := "", -2
	for code, f := range from {
		if f <= years && f > at {
			best, at = code, f
		}
	}
	return best
}

var (
	ageFrom    = map[string]int{"under30": -1, "30": 30, "40": 40, "50": 50}
	sizeFrom   = map[string]int{"under5": 0, "5": 5, "10": 10, "30": 30, "100": 100}
	scoreFrom  = map[string]int{"under60": 0, "60": 60, "70": 70, "80": 80, "90": 90}
	tenureFrom = map[string]int{"under1": 0, "1": 1, "3": 3, "5": 5, "10": 10}
	levelOf    = map[string]string{"21": "bachelor", "22": "bachelor", "31": "junior_college", "14": "postgraduate", "41": "secondary", "61": "secondary"}
	reasonOf   = map[string]string{"02": "quit", "05": "quit", "07": "quit", "03": "moved"}
	// The last days on which the months' batches were due in 2016, read off the
	// State Council's calendar of holidays.
	dueIn2016 = []int32{dayOf(2016, 1, 8), dayOf(2016, 2, 5), dayOf(2016, 3, 7), dayOf(2016, 4, 8), dayOf(2016, 5, 9), dayOf(2016, 6, 7),
		dayOf(2016, 7, 7), dayOf(2016, 8, 5), dayOf(2016, 9, 7), dayOf(2016, 10, 12), dayOf(2016, 11, 7), dayOf(2016, 12, 7)}
)

// Oracle computes every indicator from the world itself and, for those of data
// quality, from what was sent. Call it after Messages. It knows no SQL and no
// indicator file: required is the number of required fields of each feed.
func (g *Generator) Oracle(required map[string]int) []Oracle {
	out := make([]Oracle, months)
	for m := range out {
		out[m] = Oracle{Month: g.days[g.last[m]-dayMin][:7], Day: g.days[g.last[m]-dayMin], Figures: map[string]map[string]Parts{}}
		for _, u := range g.units {
			// A unit that reports has zero, not nothing.
			for _, key := range []string{"I-05", "I-07", "I-17", "I-18", "I-19|backbone|trainer", "I-19|backbone|backbone", "I-21", "I-22", "I-23", "I-29", "I-32", "I-37",
				"I-07|movement|joined", "I-07|movement|left", "I-07|movement|moved_in", "I-07|movement|moved_out", "I-29|leave_group|quit", "I-29|leave_group|other", "I-29|leave_group|moved"} {
				out[m].add(key, u.code, 0, 0)
			}
		}
		g.ofPersons(&out[m], m)
		g.ofRecords(&out[m], m)
		g.ofSending(&out[m], m, required)
		workers := out[m].Figures["I-01"]
		nation := workers[""]
		out[m].Figures["I-02"] = map[string]Parts{"": {nation.N, 100_000}}
		for unit, w := range workers {
			for _, code := range []string{"total", "per_worker", "per_10k"} {
				spent := out[m].Figures["I-27"][unit]
				spent.M = map[string]float64{"per_worker": w.N, "per_10k": out[m].Figures["residents"][unit].N}[code]
				if out[m].Figures["I-27|spending|"+code] == nil {
					out[m].Figures["I-27|spending|"+code] = map[string]Parts{}
				}
				out[m].Figures["I-27|spending|"+code][unit] = spent
			}
		}
	}
	return out
}

// ofPersons adds what is counted of persons.
func (g *Generator) ofPersons(o *Oracle, m int) {
	day := g.last[m]
	before := g.first[m] - 1
	january := min(m, 1) // 2015 has December only
	tenures := map[string][]float64{}
	employers := map[string]map[string]bool{}
	var ends []int32 // the 13 month-ends
	for k := range 13 {
		ends = append(ends, dayOf(2015, 12+m-k+1, 1)-1)
	}
	var p person
	for _, u := range g.units {
		for n := range u.persons() {
			g.person(u, n, &p)
			for i := range p.nspells {
				s := &p.spells[i]
				code := g.units[s.unit].code
				if s.category > "03" {
					continue
				}
				if s.end > 0 && s.end <= day {
					group := reasonOf[s.reason]
					if group == "" {
						group = "other"
					}
					o.add("I-29|leave_group|"+group, code, 1, 0)
					if group != "moved" {
						o.add("I-29", code, 1, 0)
					}
				}
				if s.start <= day && (s.end == 0 || s.end > day) {
					if employers[s.employer] == nil {
						employers[s.employer] = map[string]bool{}
					}
					employers[s.employer][string(p.id[:])] = true
					if p.insuranceKnown() {
						o.add("I-32", code, one(p.insured()), 1)
						o.add("I-32|employment_form|"+p.form(), code, one(p.insured()), 1)
					}
				}
			}
			for _, end := range ends {
				if i := p.primary(end); i >= 0 {
					code := g.units[p.spells[i].unit].code
					for _, key := range []string{"I-29", "I-29|leave_group|quit", "I-29|leave_group|other", "I-29|leave_group|moved"} {
						o.add(key, code, 0, 1.0/13)
					}
				}
			}
			was, is := "", ""
			if i := p.primary(before); i >= 0 {
				was = g.units[p.spells[i].unit].code
			}
			best := p.primary(day)
			if best >= 0 {
				is = g.units[p.spells[best].unit].code
			}
			switch {
			case was == is:
			case was == "":
				o.add("I-07", is, 1, 0)
				o.add("I-07|movement|joined", is, 1, 0)
			case is == "":
				o.add("I-07", was, -1, 0)
				o.add("I-07|movement|left", was, 1, 0)
			default:
				o.add("I-07", is, 1, 0)
				o.add("I-07", was, -1, 0)
				o.add("I-07|movement|moved_in", is, 1, 0)
				o.add("I-07|movement|moved_out", was, 1, 0)
			}
			if best < 0 {
				continue
			}
			if i := p.primary(ends[12]); i >= 0 {
				if from := g.units[p.spells[i].unit].code; from != is {
					o.add("I-44", is, 1, 0)
					o.add("I-44|other_unit|"+from, is, 1, 0)
				}
			}
			s := &p.spells[best]
			split := func(key string, n, m float64, by ...string) {
				o.add(key, is, n, m)
				for i := 0; i < len(by); i += 2 {
					o.add(key+"|"+by[i]+"|"+by[i+1], is, n, m)
				}
			}
			// Of a birth date only the year is kept.
			years := g.year(day) - g.year(p.birth)
			sex, age, education, level := string(p.sex), band(years, ageFrom), levelOf[p.education], p.level(day)
			attributes := []string{"worker_category", s.category, "sex", sex, "age_band", age}
			split("I-01", 1, 0, append(attributes, "education_level", education, "cert_level", string(level))...)
			split("I-05", one(s.category != "02"), 1, "sex", sex, "age_band", age)
			hours := g.hours(u, &p, january, m)
			split("I-17", hours, 1, attributes...)
			split("I-20", one(level > '0'), 1, append(attributes, "education_level", education)...)
			if level > '0' {
				want := 72.0
				if level > '1' {
					want = 90
				}
				split("I-18", one(g.hours(u, &p, 0, m) >= want), 1, attributes[:4]...)
				split("I-21", one(level > '1'), 1, attributes...)
			}
			taught := false
			for i := range p.natt {
				taught = taught || p.teaches() && p.att[i].month <= m
			}
			o.add("I-19", is, one(p.trainer || taught), 0)
			o.add("I-19|backbone|trainer", is, one(p.trainer || taught), 0)
			o.add("I-19|backbone|backbone", is, one(p.position == "2"), 0)
			split("I-22", one(p.education == "21" || p.education == "14"), 1, attributes...)
			if p.majorKnown() {
				split("I-23", one(p.major), 1, attributes...)
			}
			tenure := "unknown"
			if p.entryKnown() {
				tenure = band(g.fullYears(p.entry, day), tenureFrom)
				years := float64(day-p.entry) / 365.25
				tenures[is], tenures[""] = append(tenures[is], years), append(tenures[""], years)
			}
			o.add("I-30|tenure_band|"+tenure, is, 1, 0)
			others := map[string]bool{}
			for i := range p.nspells {
				if x := &p.spells[i]; x.unit != s.unit && x.category <= "03" && x.start <= day && (x.end == 0 || x.end > day) {
					others[g.units[x.unit].code] = true
				}
			}
			o.add("I-37", is, one(len(others) > 0), 1)
		}
	}
	o.Figures["I-30"] = map[string]Parts{}
	for unit, t := range tenures {
		sort.Float64s(t)
		o.Figures["I-30"][unit] = Parts{N: (t[(len(t)-1)/2] + t[len(t)/2]) / 2}
	}
	for _, u := range g.units {
		for k := range u.orgs {
			x := &u.orgs[k]
			if x.founded > day {
				continue
			}
			var total int64
			if x.closed == 0 || x.closed > day {
				total = g.control(u, k, m)
				if !x.suspended {
					o.add("I-14|size_class|"+band(int(total), sizeFrom), u.code, 1, 0)
				}
			}
			heads := int64(len(employers[x.uscc]))
			o.add("I-38", u.code, float64(max(total-heads, heads-total)), float64(total))
		}
	}
}

// ofRecords adds what is counted of organisations, contracts and places.
func (g *Generator) ofRecords(o *Oracle, m int) {
	day := g.last[m]
	year := 2016
	if m == 0 {
		year = 2015
	}
	byOffice := map[string]bool{}
	for k, u := range g.units {
		if m >= 7 && u.code != "660000" && adjustedByOffice(k) {
			byOffice[u.code[:2]] = true
		}
	}
	served := map[string]map[string]bool{}
	orgs := map[string]bool{}
	for _, u := range g.units {
		served[u.code] = map[string]bool{}
		for k := range u.orgs {
			x := &u.orgs[k]
			orgs[x.uscc] = !x.suspended && x.founded <= day && (x.closed == 0 || x.closed > day)
		}
	}
	var p person
	for _, u := range g.units {
		sessions := map[int]bool{}
		for n := range u.persons() {
			g.person(u, n, &p)
			for i := range p.nspells {
				s := &p.spells[i]
				if s.category <= "03" && s.start <= day && (s.end == 0 || s.end > day) && orgs[s.employer] {
					served[g.units[s.unit].code][g.units[s.unit].counties[s.county]] = true
				}
			}
			for i := range p.natt {
				if p.att[i].month == m && !(u.late && m == months-1) {
					sessions[u.classOf(n)] = true
				}
			}
			for k := range g.drills(u, &p, m) {
				sessions[u.drillOf(n, k)] = true
			}
		}
		for no := range sessions {
			o.add("I-43", u.code, 1, 0)
			o.add("I-43|training_tier|"+sessionTiers[no%5], u.code, 1, 0)
		}
	}
	for _, u := range g.units {
		third := map[[2]int]bool{} // kind and subject that a third party judged; posts with their year
		for mm := 0; mm <= m; mm++ {
			for k := range g.evaluationsOf(u) {
				e := g.evaluation(u, mm, k)
				if e.by == '2' && e.kind == '2' {
					third[[2]int{2, e.subject}] = true
				}
				if e.by == '2' && e.kind == '3' {
					third[[2]int{e.year, e.subject}] = true
				}
				if (mm == 0) != (m == 0) {
					continue // of the other year
				}
				o.add("I-26", u.code, one(e.grade == "1"), 1)
				o.add("I-26|evaluation_subject|"+string(e.kind), u.code, one(e.grade == "1"), 1)
				o.add("I-26|evaluator_type|"+string(e.by), u.code, one(e.grade == "1"), 1)
				for _, grade := range []string{"1", "2", "3"} {
					o.add("I-26|evaluation_grade|"+grade, u.code, one(e.grade == grade), 1)
				}
				for code := range scoreFrom {
					o.add("I-26|score_band|"+code, u.code, one(band(e.score, scoreFrom) == code), 1)
				}
			}
		}
		o.add("I-25", u.code, 0, 0)
		for _, y := range []int{2015, 2016} {
			for k := range g.projects(u, y) {
				c := g.project(u, y, k)
				if c.start <= day && c.end >= day {
					served[u.code][u.counties[c.county]] = true
				}
				if c.start <= day && y == year {
					o.add("I-27", u.code, float64(c.amount), 0)
				}
				if c.end <= day && g.days[c.end-dayMin][:4] == g.days[day-dayMin][:4] {
					o.add("I-25", u.code, one(y == 2015 && third[[2]int{2, k}]), 1)
				}
			}
		}
		o.add("I-28", u.code, 0, 0)
		for k := range u.posts {
			c := g.post(u, year, k)
			if c.start > day {
				continue
			}
			o.add("I-27", u.code, float64(c.price), 0)
			if c.end < day {
				continue
			}
			served[u.code][u.counties[c.county]] = true
			// What is known is the newest month that was sent.
			for mm := m; ; mm-- {
				if g.postSent(u, k, mm, &c) {
					o.add("I-28", u.code, one(!g.filled(u, k, mm)), 1)
					o.add("I-28|fund_source|"+postFunds[k%5], u.code, one(!g.filled(u, k, mm)), 1)
					break
				}
			}
			if c.end <= day {
				o.add("I-25", u.code, one(third[[2]int{year, k}]), 1)
			}
		}
		places := map[string]bool{}
		for c := range u.counties {
			for k := range 1 + c%2 {
				if name, opened := g.station(u, c, k); opened <= day {
					places[u.counties[c]+name] = true
				}
			}
			o.add("I-08", u.code, 0, float64(u.townships[c]))
			o.add("I-15", u.code, one(served[u.code][u.counties[c]]), 1)
			o.add("I-31", u.code, one(m >= 1 && c < 8 && u.adjusted(c) || byOffice[u.counties[c][:2]]), 1)
			o.add("I-04", u.code, float64(g.usersOf(u, c, m)*int64(12+c%9)/100), 0)
			o.add("users", u.code, float64(g.usersOf(u, c, m)), 0)
			o.add("residents", u.code, float64(u.population[c]), 0)
		}
		o.add("I-08", u.code, float64(len(places)), 0)
		o.add("I-04", u.code, 0, o.Figures["I-01"][u.code].N)
		topics := map[string]bool{}
		for mm := 0; mm <= m; mm++ {
			if issued, repealed := g.document(u.index, mm, 0); u.issues(mm) && issued <= day && (repealed == 0 || repealed > day) {
				for topic := range strings.SplitSeq(docTopics[mm%5], ",") {
					topics[topic] = true
				}
			}
		}
		o.add("I-42", u.code, float64(len(topics)), 6)
		o.add("I-41", u.code, 0, 0)
		for k := range u.sites() {
			x := g.site(u, k, m-m%3)
			if x.status == "1" {
				continue
			}
			// Of 36 months: the same day three years before does not count any more.
			recent := x.reviewed > 0 && g.days[x.reviewed-dayMin] > g.days[dayOf(2012, 12+m+1, 1)-1-dayMin]
			o.add("I-41", u.code, one(recent), 1)
			o.add("I-41|demo_level|"+x.level, u.code, one(recent), 1)
		}
	}
}

// ofSending adds what is counted of the sending. Receipts are about everything
// that ever came, so that they stand with the last month.
func (g *Generator) ofSending(o *Oracle, m int, required map[string]int) {
	day := g.last[m]
	for i, u := range g.units {
		t := &g.seen[i]
		for mm, due := range dueIn2016 {
			if m == 0 || due > day {
				continue
			}
			for _, f := range []feedID{fContext, fOrg, fWorker} {
				at := t.first[f][mm]
				sent := one(at > 0 && at < unix(due+1, 0))
				o.add("I-33", u.code, sent, 1)
				o.add("I-33|feed|"+feedNames[f], u.code, sent, 1)
			}
		}
		month := o.Month
		if t.versions[month] > 0 {
			o.add("I-39", u.code, float64(t.mended[month]), float64(t.versions[month]))
		}
		if m != months-1 {
			continue
		}
		o.add("I-34", u.code, float64(t.received-t.rejected), float64(t.received))
		for f := range nFeeds {
			b := &t.byFeed[f]
			if b.received == 0 {
				continue
			}
			o.add("I-34|feed|"+feedNames[f], u.code, float64(b.received-b.rejected), float64(b.received))
			due := float64(b.received) * float64(required[feedNames[f]])
			o.add("I-36", u.code, due-float64(b.required), due)
			o.add("I-36|feed|"+feedNames[f], u.code, due-float64(b.required), due)
			if slices.Contains(idFeeds, f) {
				o.add("I-35", u.code, float64(b.received-b.identity), float64(b.received))
				o.add("I-35|feed|"+feedNames[f], u.code, float64(b.received-b.identity), float64(b.received))
			}
		}
	}
}

// Keys lists the figures of an oracle, sorted.
func (o *Oracle) Keys() []string { return slices.Sorted(maps.Keys(o.Figures)) }
