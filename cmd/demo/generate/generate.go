// Package generate makes the demo's input: a year of every feed of an invented
// country, as the messages that its provinces would have sent, messy where real
// feeds are messy, together with a manifest of what the pipeline must make of it.
//
// Nothing is random but by the seed: every person, organisation and contract is
// derived anew from the seed whenever it is needed, so that memory grows with
// organisations and counties only, never with records.
package generate

import (
	"strconv"
	"time"
)

// Config says what to make.
type Config struct {
	Seed uint64
	// Records is about how many records to make; 0 means 300,000. From 150,000
	// on the world is full (29,000 workers) and more records are deeper history
	// and more attendance; below, the world shrinks in proportion.
	Records int
	// Partitions is how many partitions each topic has: chunks are cut by
	// partition, as the push client cuts them. 0 means 1.
	Partitions int
}

// Generator makes one world. It is not safe for concurrent use, and Messages
// may be called once.
type Generator struct {
	seed  uint64
	scale float64
	parts int
	man   Manifest

	units  []*unit
	byCode map[string]*unit
	days   []string // every date as text, from dayMin on
	first  [months]int32
	last   [months]int32

	snapshots float64 // share of the optional monthly worker snapshots that are sent
	deep      int     // months of worker snapshots before December 2015
	extra     float64 // drills a person and month

	yield     func(Message) error
	count     [nFeeds]*Count
	fresh     [][nFeeds]int64
	seen      []tally       // by unit
	byFeed    [nFeeds][]int // messes that fit a feed
	planted   []int64
	rate      [nFeeds]int // in 1/100,000
	luck      dice
	r         rec // the record under way
	copy      rec
	other     rec
	jsonBuf   []byte
	keyBuf    []byte
	free      []byte
	chunks    map[[3]int]*chunk
	order     []*chunk
	chunkNo   int
	strangers int
	raw       []string
	failed    error
	large     bool
	// lastRefused says of the message being yielded that it breaks a rule; tests look at it.
	lastRefused bool
	sessions    []session
	sessionAt   map[int]int
}

const defaultRecords = 300_000

var dayMin = dayOf(1950, 1, 1)

// New plans a world.
func New(c Config) *Generator {
	if c.Records <= 0 {
		c.Records = defaultRecords
	}
	g := &Generator{
		seed: mix(c.Seed + 0x5bd1e995), parts: max(c.Partitions, 1), byCode: map[string]*unit{},
		chunks: map[[3]int]*chunk{}, planted: make([]int64, len(messes)), sessionAt: map[int]int{},
	}
	g.scale = min(1, float64(c.Records)/fullRecords)
	for d := dayMin; d < dayOf(2045, 1, 1); d++ {
		g.days = append(g.days, time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly))
	}
	for m := range months {
		g.first[m] = dayOf(2015, 12+m, 1)
		g.last[m] = dayOf(2015, 13+m, 1) - 1
	}
	g.man = Manifest{
		Seed: c.Seed, Asked: c.Records, Today: Today.Format(time.RFC3339), Scale: g.scale,
		Forms: map[string]int64{}, Feeds: map[string]*Count{}, DerivedVoids: map[string]int64{}, planted: map[string]int64{},
	}
	g.build()
	for _, u := range g.units {
		g.man.Units = append(g.man.Units, u.code)
		if u.late {
			g.man.LateUnits = append(g.man.LateUnits, u.code)
		}
	}
	g.fresh = make([][nFeeds]int64, len(g.units)+1)
	g.seen = make([]tally, len(g.units)+1)
	for f := range nFeeds {
		g.count[f] = g.man.of(feedNames[f])
		for i := range messes {
			for _, have := range messes[i].feeds {
				if have == f {
					g.byFeed[f] = append(g.byFeed[f], i)
				}
			}
		}
		g.rate[f] = max(100, min(2500, int(900_000_000/int64(c.Records))))
		switch f {
		case fProject, fTraining, fEvaluation, fDemoSite, fPolicy, fPay, fStation, fIDChange:
			g.rate[f] = 9000
		case fPost, fOrg, fContext:
			g.rate[f] = 4000
		}
	}
	g.luck = dice(g.h(saltPlant, 0, 0))
	g.budget(c.Records)
	return g
}

// budget walks through the persons once: it fills the organisations' head
// counts and spreads the records that are left over optional ones.
func (g *Generator) budget(records int) {
	byUSCC := map[string]*org{}
	base := 0
	for _, u := range g.units {
		for k := range u.orgs {
			byUSCC[u.orgs[k].uscc] = &u.orgs[k]
		}
		base += len(u.orgs)*months + len(u.counties)*(months+2) + u.posts*7/2 + g.projects(u, 2015) + g.projects(u, 2016)
		base += (1+len(u.orgs)/8)*months + (4+u.open/150)*4 + 7 + min(8, len(u.counties))*4 + (u.open/300+1)*months
	}
	var p person
	var alive [160]int // worker snapshots by months before December 2015
	optional, employed := 0, 0
	for _, u := range g.units {
		for n := range u.persons() {
			g.person(u, n, &p)
			base += p.nspells + p.ncerts + p.natt
			for i := range p.nspells {
				s := &p.spells[i]
				base++ // its first snapshot
				if s.end > 0 {
					base++
				}
				for m := range months {
					if s.start > g.last[m] || s.end > 0 && s.end <= g.last[m] {
						continue
					}
					employed++
					if s.start < g.first[m] && m > 0 {
						optional++
					}
					if o := byUSCC[s.employer]; o != nil && s.category <= "03" {
						o.workers[m]++
					}
				}
				for back := int((g.first[0] - s.start) / 31); back > 0; back-- {
					if back < len(alive) {
						alive[back]++
					}
				}
			}
		}
	}
	left := int(float64(records)*0.965) - base
	g.snapshots = max(0.02*g.scale, min(1, float64(left)/float64(max(optional, 1))))
	left -= optional
	for left > 0 && g.deep < 154 {
		g.deep++
		left -= alive[g.deep]
	}
	if left > 0 {
		g.extra = float64(left) / float64(max(employed, 1))
	}
}

// unitCode names the unit of an index; behind the last comes the national office.
func (g *Generator) unitCode(i int) string {
	if i == len(g.units) {
		return nationalOffice
	}
	return g.units[i].code
}

func (g *Generator) topic(i int) string {
	if i == len(g.units) {
		return "duiwu.feed." + nationalOffice
	}
	return g.units[i].topic
}

// plant counts a planted mess.
func (g *Generator) plant(kind string) { g.man.planted[kind]++ }

// snapshotLag is how long after the month's last week its snapshots are
// reported: in the first working days of the next month, when they are due.
const snapshotLag = 9 * 86400

// slow says that a unit sends a feed's month too late; of the last month nothing
// can be late yet but what is missing.
func (g *Generator) slow(f feedID, unit, month int) bool {
	return month >= 0 && month < months-1 && g.h(saltTime, unit, 9_000_000+int(f)*100+month)%11 == 0
}

// begin starts a record: the envelope but record_id, which the caller sets.
func (g *Generator) begin(f feedID, unit, month int, from int32, at int64) *rec {
	switch f {
	case fWorker, fOrg, fPost, fDemoSite, fContext:
		at += snapshotLag
		if g.slow(f, unit, month) {
			at += 12 * 86400
		}
	}
	r := &g.r
	*r = rec{feed: f, unit: unit, month: month, buf: r.buf[:0], outcome: isNew}
	r.lit(eVersion, "1")
	r.str(eUnit, g.unitCode(unit))
	r.str(eFeed, feedNames[f])
	lo := len(r.buf)
	r.buf = append(r.buf, 'B')
	r.buf = append(r.buf, g.unitCode(unit)[:2]...)
	r.buf = append(r.buf, 'M')
	r.buf = strconv.AppendInt(r.buf, int64(month+1), 10)
	r.buf = append(r.buf, 'D')
	r.buf = strconv.AppendInt(r.buf, (at-unix(g.first[0], 0))/86400, 10)
	r.close(eBatch, lo, text)
	r.str(eOp, "U")
	day := g.days[from-dayMin]
	lo = len(r.buf)
	r.buf = append(append(r.buf, day[:4]...), day[5:7]...)
	r.close(ePeriod, lo, text)
	r.str(eFrom, day)
	g.reported(r, at)
	return r
}

// send sends a record as a message of its own and counts what becomes of it.
func (g *Generator) send(r *rec, outcome string) error {
	g.counted(r, outcome)
	return g.sendSingle(r)
}

// counted notes what becomes of a record.
func (g *Generator) counted(r *rec, outcome string) {
	c := g.count[r.feed]
	c.Received++
	c.Outcomes[outcome]++
	g.fresh[r.unit][r.feed] = max(g.fresh[r.unit][r.feed], r.at)
	g.seen[r.unit].accept(r, outcome)
}

// emit sends the record under way, perhaps with a planted mess.
func (g *Generator) emit(r *rec) error {
	if g.luck.n(100_000) < g.rate[r.feed] {
		if m := g.choose(r); m != nil && m.class == sequence {
			return m.play(g, r)
		}
	}
	if r.keyed || r.unit == len(g.units) || g.units[r.unit].form == formJSON {
		return g.send(r, r.outcome)
	}
	g.counted(r, r.outcome)
	return g.addChunk(r)
}

// choose plants the mess that was planted least so far among those that fit. A
// broken copy is sent at once; a sequence is left to the caller.
func (g *Generator) choose(r *rec) *mess {
	var tried [4]uint64
	for range 24 {
		best := -1
		for _, i := range g.byFeed[r.feed] {
			if tried[i>>6]>>(i&63)&1 == 0 && (best < 0 || g.planted[i] < g.planted[best]) {
				best = i
			}
		}
		if best < 0 {
			return nil
		}
		tried[best>>6] |= 1 << (best & 63)
		m := &messes[best]
		if r.unit == len(g.units) && m.class != sequence {
			continue
		}
		switch m.class {
		case written:
			if m.kind == "reported_at_old" && r.keyed || !m.apply(g, r) {
				continue
			}
			if m.rule != "" {
				g.count[r.feed].Warnings[m.rule]++
			}
		case broken:
			b := r.copyTo(&g.copy)
			b.at -= 3600
			g.reported(b, b.at)
			if !m.apply(g, b) {
				continue
			}
			if err := g.refused(b, m); err != nil {
				g.failed = err
				return nil
			}
		}
		g.planted[best]++
		g.plant(m.kind)
		return m
	}
	return nil
}

// refused sends a record that breaks a rule.
func (g *Generator) refused(b *rec, m *mess) error {
	c := g.count[b.feed]
	c.Received++
	c.Outcomes[rejected]++
	c.RejectedByRule[m.rule]++
	g.seen[b.unit].refuse(b.feed, m.rule)
	if m.kind == "damaged_gb18030" {
		return g.addChunk(b)
	}
	g.lastRefused = true
	err := g.sendSingle(b)
	g.lastRefused = false
	return err
}

// Messages yields the messages in the order in which they are produced. Only
// the order of messages with one key matters. It stops at yield's first error.
func (g *Generator) Messages(yield func(Message) error) error {
	g.yield = yield
	for m := range months {
		for _, u := range g.units {
			if err := g.month(u, m); err != nil {
				return err
			}
		}
		if err := g.national(m); err != nil {
			return err
		}
		for _, c := range g.order {
			if err := g.sendChunk(c); err != nil {
				return err
			}
		}
		if g.failed != nil {
			return g.failed
		}
	}
	return nil
}

// month sends a unit's month.
func (g *Generator) month(u *unit, m int) error {
	for _, part := range []func(*unit, int) error{
		g.orgs, g.contexts, g.people, g.trainings, g.postsOf, g.projectsOf,
		g.evaluations, g.demoSites, g.policies, g.payStandards, g.stations, g.noise,
	} {
		if err := part(u, m); err != nil {
			return err
		}
	}
	return nil
}

// evening is a moment near the month's end at which snapshots are sent.
func (g *Generator) evening(m int, h uint64) int64 {
	return unix(g.first[m]+25, 8) + int64(h%36000)
}

func (g *Generator) orgs(u *unit, m int) error {
	for k := range u.orgs {
		o := &u.orgs[k]
		if o.founded > g.last[m] || o.closed > 0 && o.closed < g.first[m] {
			continue
		}
		h := g.h(saltOrg, u.index, k*1000+m+500)
		status := "active"
		if o.suspended {
			status = "suspended"
		}
		if err := g.org(u, m, k, max(g.first[m], o.founded), status, g.evening(m, h)); err != nil {
			return err
		}
		if o.closed > 0 && o.closed <= g.last[m] {
			if err := g.org(u, m, k, o.closed, "deregistered", g.evening(m, h)+3600); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Generator) org(u *unit, m, k int, from int32, status string, at int64) error {
	o := &u.orgs[k]
	r := g.begin(fOrg, u.index, m, from, at)
	r.id("O", u.code[:2], k)
	r.str(own, o.uscc)
	r.str(own+1, o.name)
	r.str(own+2, o.typ)
	r.str(own+3, u.counties[o.county])
	g.day(r, own+4, o.founded)
	r.str(own+5, status)
	r.str(own+6, o.brand)
	r.codes(own+7, []string{"1", "1,2", "1,3", "1,2,3,4", "3"}[k%5])
	n := g.control(u, k, m)
	if status == "deregistered" {
		n = 0
	}
	r.num(own+8, n+3+int64(k%7))
	r.num(own+9, n)
	return g.emit(r)
}

// control is the head count that an organisation reports: now and then a few too many.
func (g *Generator) control(u *unit, k, m int) int64 {
	n := int64(max(1, u.orgs[k].workers[m]))
	if h := g.h(saltOrg, u.index, 700_000+k); h%9 == 0 {
		n += 1 + int64(h>>8%3)
	}
	return n
}

// usersOf is a county's registered users at a month's end: a little fewer the
// further back.
func (g *Generator) usersOf(u *unit, county, m int) int64 {
	return u.users[county] * int64(1000-4*(months-1-m)) / 1000
}

func (g *Generator) context(unit int, u *unit, c, m int, add int64) error {
	r := g.begin(fContext, unit, m, g.first[m], g.evening(m, g.h(saltTime, unit, c*100+m)))
	r.id("C", u.code[:2], c)
	users := g.usersOf(u, c, m) + add
	r.str(own, u.counties[c])
	r.num(own+1, users)
	r.num(own+2, users*int64(12+c%9)/100)
	r.num(own+3, u.population[c])
	r.num(own+4, 1)
	r.num(own+5, int64(u.townships[c]))
	return g.emit(r)
}

func (g *Generator) contexts(u *unit, m int) error {
	for c := range u.counties {
		if err := g.context(u.index, u, c, m, 0); err != nil {
			return err
		}
	}
	return nil
}

// national sends what the national office sends: for two provinces the context
// again, here and there with another figure (the province's own wins), documents
// and pay standards.
func (g *Generator) national(m int) error {
	o := len(g.units)
	for _, code := range []string{"310000", "520000"} {
		u := g.byCode[code]
		for c := range u.counties {
			var add int64
			if g.h(saltPolicy, c, m)%10 == 0 {
				add = 7
				g.plant("national_context_differs")
			}
			if err := g.context(o, u, c, m, add); err != nil {
				return err
			}
		}
	}
	if m%3 == 1 {
		for k := range 3 {
			if err := g.policy(o, "国禁毒办发", "关于推进禁毒社会工作的意见", "110000", m, k); err != nil {
				return err
			}
		}
	}
	if m == 7 {
		for k, u := range g.units {
			if u.code == "660000" {
				continue
			}
			r := g.begin(fPay, o, m, dayOf(2016, 7, 1), g.evening(m, uint64(k*77)))
			r.id("S", u.code[:2], k)
			r.str(own, u.code)
			r.str(own+1, "0")
			r.num(own+2, int64(300_000+5_000*(k%9)))
			r.truth(own+3, adjustedByOffice(k))
			if err := g.emit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// hour spreads reports over a working day.
func hour(day int32, h uint64) int64 { return unix(day, 8) + int64(h%36000) }

// load is when the history was sent at the beginning.
func (g *Generator) load(h uint64) int64 { return hour(g.first[0]+4+int32(h>>40%3), h) }

func (g *Generator) people(u *unit, m int) error {
	var p person
	first, last := g.first[m], g.last[m]
	g.sessions = g.sessions[:0]
	clear(g.sessionAt)
	for n := range u.persons() {
		g.person(u, n, &p)
		for i := range p.nspells {
			s := &p.spells[i]
			if s.start > last || s.end > 0 && s.end < first {
				continue
			}
			h := g.h(saltTime, u.index, n*32+m+1_000_000*i)
			if g.units[s.unit].late && m == months-1 {
				continue
			}
			// The spell begins, or is part of the first load.
			if opens := s.start >= first; opens || m == 0 {
				at := g.load(h)
				if opens {
					at = hour(s.start+1, h)
				}
				if err := g.employment(u, &p, s, m, s.start, at, false); err != nil {
					return err
				}
			}
			if s.end >= first && s.end <= last && s.end > 0 {
				if err := g.employment(u, &p, s, m, s.end, hour(s.end+1, h>>3), true); err != nil {
					return err
				}
			}
			if m == 0 {
				for back := g.deep; back > 0; back-- {
					start := dayOf(2015, 12-back, 1)
					if s.start > start {
						continue
					}
					if err := g.worker(u, &p, s, -1, start, g.load(h)); err != nil {
						return err
					}
				}
			}
			begun := s.start >= first || m == 0
			if begun || (s.end == 0 || s.end > last) && float64(g.h(saltSnap, u.index, n*64+m)>>40)/(1<<24) < g.snapshots {
				if err := g.worker(u, &p, s, m, max(first, s.start), g.evening(m, h>>5)); err != nil {
					return err
				}
			}
		}
		if u.late && m == months-1 {
			continue
		}
		if p.renewed > 0 && p.renewed == m {
			if err := g.idChange(u, &p, m); err != nil {
				return err
			}
		}
		for i := range p.ncerts {
			c := &p.certs[i]
			if c.byMonth != m && !(c.byMonth < 0 && m == 0) {
				continue
			}
			if err := g.qualification(u, &p, c, m, i); err != nil {
				return err
			}
		}
		for i := range p.natt {
			if a := &p.att[i]; a.month == m {
				if err := g.attendance(u, &p, m, u.classOf(n), a.day, a.passed, false); err != nil {
					return err
				}
			}
		}
		for k := range g.drills(u, &p, m) {
			day := min(first+1+int32(k%24), last-4)
			if err := g.attendance(u, &p, m, u.drillOf(n, k), max(day, first), false, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// drills counts the drills in which a person took part in a month.
func (g *Generator) drills(u *unit, p *person, m int) int {
	s := &p.spells[0]
	if s.start > g.last[m] || s.end > 0 && s.end <= g.last[m] || g.extra == 0 || u.late && m == months-1 {
		return 0
	}
	return int(g.extra + float64(g.h(saltExtra, u.index, p.n*64+m)>>40)/(1<<24))
}

// classOf is the session of a month in which a person takes part.
func (u *unit) classOf(n int) int { return n % (u.open/300 + 1) }

// drillOf is the session of the k-th drill of a month in which a person takes part.
func (u *unit) drillOf(n, k int) int { return 1000 + k*64 + n%(u.open/60+1) }

// sessionTiers gives each session its tier, by its number.
var sessionTiers = []string{"4", "4", "3", "3", "2"}

var classHours = []string{"24", "40", "60"}

func (g *Generator) personID(r *rec, prefix string, u *unit, p *person, tail string) {
	lo := len(r.buf)
	r.buf = append(r.buf, prefix...)
	r.buf = append(r.buf, u.code[:2]...)
	r.buf = append(r.buf, 'N')
	r.buf = strconv.AppendInt(r.buf, int64(p.n), 10)
	r.buf = append(r.buf, tail...)
	r.close(eRecord, lo, text)
}

func (g *Generator) employment(u *unit, p *person, s *spell, m int, from int32, at int64, closing bool) error {
	r := g.begin(fEmployment, s.unit, m, from, at)
	g.personID(r, "E", u, p, string(s.suffix))
	r.keyed = s.end > 0
	if closing {
		r.outcome = correction
	}
	r.bytes(own, p.number(s, m))
	r.str(own+1, s.employer)
	g.day(r, own+2, s.start)
	if closing {
		g.day(r, own+3, s.end)
		r.str(own+8, s.reason)
		r.str(own+9, s.dest)
	}
	r.str(own+4, p.form())
	r.str(own+5, s.category)
	r.str(own+6, g.units[s.unit].counties[s.county])
	if s.post >= 0 {
		lo := len(r.buf)
		r.buf = g.appendPostID(r.buf, g.units[s.unit], s.post)
		r.close(own+7, lo, text)
	}
	if p.insuranceKnown() {
		r.truth(own+10, p.insured())
	}
	r.num(own+11, int64(230_000+p.n%40*5_000))
	return g.emit(r)
}

func (g *Generator) worker(u *unit, p *person, s *spell, m int, from int32, at int64) error {
	r := g.begin(fWorker, s.unit, m, from, at)
	g.personID(r, "W", u, p, string(s.suffix))
	r.bytes(own, p.number(s, m))
	r.bytes(own+1, p.name)
	if p.misspelt(s) {
		r.str(own+1, string(p.name)+"儿")
		g.raw = append(g.raw, string(r.get(own+1)))
	}
	r.bytes(own+2, p.mobile[:])
	r.str(own+3, string(p.sex))
	g.day(r, own+4, p.birth)
	r.str(own+5, p.ethnic)
	r.str(own+6, p.political)
	r.str(own+7, p.education)
	if p.majorKnown() {
		r.truth(own+8, p.major)
	}
	r.str(own+9, s.category)
	r.str(own+10, p.position)
	r.str(own+11, s.employer)
	r.str(own+12, g.units[s.unit].counties[s.county])
	if p.entryKnown() {
		g.day(r, own+13, p.entry)
	}
	r.truth(own+14, p.trainer)
	return g.emit(r)
}

func (g *Generator) idChange(u *unit, p *person, m int) error {
	h := g.h(saltRenew, u.index, p.n)
	day := g.first[m] + int32(h>>8%20)
	r := g.begin(fIDChange, u.index, m, day, hour(day+1, h))
	g.personID(r, "I", u, p, "")
	r.bytes(own, p.former[:])
	r.bytes(own+1, p.id[:])
	g.day(r, own+2, day)
	r.str(own+3, []string{"01", "02", "02", "99"}[h>>16%4])
	return g.emit(r)
}

func (g *Generator) qualification(u *unit, p *person, c *certificate, m, i int) error {
	h := g.h(saltTime, u.index, p.n*8+i+70_000_000)
	at := g.load(h)
	if c.byMonth >= 0 {
		at = hour(c.issued+1, h)
	}
	r := g.begin(fQualification, u.index, m, c.issued, at)
	g.personID(r, "Q", u, p, "L"+string(c.level))
	r.bytes(own, p.number(&p.spells[0], m))
	r.str(own+1, string(c.level))
	lo := len(r.buf)
	r.buf = append(r.buf, "SW"...)
	r.buf = append(r.buf, g.days[c.issued-dayMin][:4]...)
	r.buf = append(r.buf, u.code[:2]...)
	r.buf = strconv.AppendInt(r.buf, int64(100_000+p.n), 10)
	r.close(own+2, lo, text)
	g.day(r, own+3, c.issued)
	r.str(own+4, string(c.status))
	if c.status != '3' {
		g.day(r, own+5, c.until)
	}
	return g.emit(r)
}

// session counts who took part, for the control total.
type session struct {
	no, people int
	day        int32
	drill      bool
}

func appendSession(dst []byte, u *unit, m, no int) []byte {
	dst = append(append(dst, 'T'), u.code[:2]...)
	dst = strconv.AppendInt(append(dst, 'M'), int64(m), 10)
	return strconv.AppendInt(append(dst, 'S'), int64(no), 10)
}

func (g *Generator) attendance(u *unit, p *person, m, no int, day int32, passed, drill bool) error {
	k, ok := g.sessionAt[no]
	if !ok {
		k = len(g.sessions)
		g.sessionAt[no] = k
		g.sessions = append(g.sessions, session{no: no, day: day, drill: drill})
	}
	g.sessions[k].people++
	r := g.begin(fAttendance, u.index, m, day, hour(min(day+2, g.first[m]+26), uint64(p.n)*7919))
	lo := len(r.buf)
	r.buf = append(appendSession(append(r.buf, 'A'), u, m, no), 'P')
	r.buf = strconv.AppendInt(r.buf, int64(p.n), 10)
	r.close(eRecord, lo, text)
	lo = len(r.buf)
	r.buf = appendSession(r.buf, u, m, no)
	r.close(own, lo, text)
	r.bytes(own+1, p.number(&p.spells[0], m))
	switch {
	case drill:
		r.lit(own+2, "2")
	default:
		r.lit(own+2, classHours[no%3])
		r.truth(own+3, passed)
	}
	r.truth(own+4, !drill && p.teaches())
	return g.emit(r)
}

func (g *Generator) trainings(u *unit, m int) error {
	for i := range g.sessions {
		s := &g.sessions[i]
		r := g.begin(fTraining, u.index, m, s.day, hour(min(s.day+2, g.first[m]+26), uint64(s.no)*104729))
		lo := len(r.buf)
		r.buf = appendSession(r.buf, u, m, s.no)
		r.close(eRecord, lo, text)
		r.bytes(own, r.get(eRecord))
		r.str(own+1, u.short+[]string{"禁毒社工岗位能力培训班", "社区戒毒社区康复业务培训班", "禁毒宣传教育骨干培训班"}[s.no%3])
		r.str(own+2, sessionTiers[s.no%5])
		switch {
		case s.drill:
			r.str(own+3, "5")
			r.lit(own+8, "2")
		default:
			r.str(own+3, []string{"1", "2", "3"}[s.no%3])
			r.lit(own+8, classHours[s.no%3])
		}
		r.str(own+4, u.buyers[0])
		r.str(own+5, u.counties[s.no%len(u.counties)])
		g.day(r, own+6, max(s.day-1, g.first[m]))
		g.day(r, own+7, s.day)
		r.num(own+9, int64(s.people))
		if err := g.emit(r); err != nil {
			return err
		}
	}
	return nil
}

// contract is a project or a post.
type contract struct {
	start, end             int32
	amount, price          int64
	county, provider, need int
}

func (g *Generator) projects(u *unit, year int) int {
	n := map[mode]int{modeProject: 25, modePost: 140, modeMixed: 55, modeLittle: 90}[u.mode]
	return 1 + u.open/n + year%5*0
}

func (g *Generator) project(u *unit, year, k int) (c contract) {
	h := g.h(saltProject, u.index, year*10_000+k)
	c.start = dayOf(year, 1, 5) + int32(h%318)
	c.end = c.start + 364
	c.need = 3 + int(h>>20%20)
	c.amount = int64(c.need)*int64(55+h>>32%40)*1000*100 + int64(h>>40%10)*1000*100
	c.county = int(h >> 44 % uint64(len(u.counties)))
	c.provider = int(h >> 50 % uint64(max(u.stay, 1)))
	return c
}

func (g *Generator) post(u *unit, year, k int) (c contract) {
	h := g.h(saltPost, u.index, year*10_000+k)
	c.start, c.end = dayOf(year, 1, 1), dayOf(year, 12, 31)
	if year == 2016 && h%7 == 0 {
		c.start = dayOf(2016, 2+int(h>>8%9), 1)
	}
	c.price = int64(42_000+500*(h>>16%70)) * 100
	c.county = int(h >> 24 % uint64(len(u.counties)))
	c.provider = int(h >> 32 % uint64(max(u.stay, 1)))
	return c
}

func (g *Generator) appendPostID(dst []byte, u *unit, k int) []byte {
	dst = append(append(dst, 'P'), u.code[:2]...)
	return strconv.AppendInt(append(dst, 'N'), int64(k), 10)
}

var postFunds = []string{"02", "03", "04", "04", "05"}

// postSent says whether a post's state of a month is sent.
func (g *Generator) postSent(u *unit, k, m int, c *contract) bool {
	begins := m == 0 || c.start >= g.first[m]
	return c.start <= g.last[m] && (begins || m == months-1 || g.scale == 1 && g.h(saltPost, u.index, k*100+m)>>20%8 == 0)
}

func (g *Generator) filled(u *unit, k, m int) bool {
	return g.h(saltPost, u.index, k*100+m)>>8%100 >= 7
}

func (g *Generator) postsOf(u *unit, m int) error {
	year := 2016
	if m == 0 {
		year = 2015
	}
	for k := range u.posts {
		c := g.post(u, year, k)
		if c.start > g.last[m] {
			continue
		}
		h := g.h(saltPost, u.index, k*100+m)
		if !g.postSent(u, k, m, &c) {
			continue
		}
		r := g.begin(fPost, u.index, m, max(g.first[m], c.start), g.evening(m, h))
		lo := len(r.buf)
		r.buf = g.appendPostID(r.buf, u, k)
		r.buf = append(r.buf, 'Y', byte('0'+year%10))
		r.close(eRecord, lo, text)
		lo = len(r.buf)
		r.buf = g.appendPostID(r.buf, u, k)
		r.close(own, lo, text)
		r.str(own+1, u.buyers[k%len(u.buyers)])
		r.str(own+2, u.orgs[c.provider].uscc)
		r.num(own+3, int64(year))
		r.str(own+4, u.counties[c.county])
		r.num(own+5, c.price)
		r.str(own+6, postFunds[k%5])
		g.day(r, own+7, c.start)
		g.day(r, own+8, c.end)
		r.truth(own+9, g.filled(u, k, m))
		if err := g.emit(r); err != nil {
			return err
		}
	}
	return nil
}

func (g *Generator) projectsOf(u *unit, m int) error {
	for _, year := range []int{2015, 2016} {
		for k := range g.projects(u, year) {
			c := g.project(u, year, k)
			begins := c.start >= g.first[m] && c.start <= g.last[m]
			if !begins && !(m == 0 && c.start < g.first[0]) {
				continue
			}
			h := g.h(saltTime, u.index, year*10_000+k)
			at := g.load(h)
			if begins {
				at = hour(min(c.start+1, g.first[m]+26), h)
			}
			r := g.begin(fProject, u.index, m, c.start, at)
			r.id("J"+strconv.Itoa(year%10)+"P", u.code[:2], k)
			r.bytes(own, r.get(eRecord))
			r.str(own+1, u.buyers[k%len(u.buyers)])
			r.str(own+2, u.orgs[c.provider].uscc)
			r.str(own+3, u.short+[]string{"社区戒毒社区康复社会工作服务项目", "青少年毒品预防教育项目", "戒毒人员帮扶救助项目"}[k%3])
			r.num(own+4, int64(year))
			r.num(own+5, c.amount)
			r.num(own+6, c.amount*int64(h%10)/10)
			r.str(own+7, []string{"02", "03", "04", "05"}[k%4])
			r.str(own+8, []string{"01", "01", "02", "03", "04", "06"}[k%6])
			r.codes(own+9, []string{"1,2", "3", "2", "1,2,3"}[k%4])
			r.num(own+10, int64(c.need))
			r.str(own+11, u.counties[c.county])
			g.day(r, own+12, c.start)
			g.day(r, own+13, c.end)
			if err := g.emit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// evaluated is one evaluation.
type evaluated struct {
	day           int32
	kind, by      byte // of the subject, of the evaluator
	subject, year int  // the subject's number in the unit
	score         int
	grade         string
}

func (g *Generator) evaluationsOf(u *unit) int { return 1 + len(u.orgs)/8 }

func (g *Generator) evaluation(u *unit, m, k int) evaluated {
	h := g.h(saltEval, u.index, m*1000+k)
	e := evaluated{day: g.first[m] + int32(h%24), kind: byte('1' + (k+u.index+m)%4), year: 2015 + min(m, 1), score: 62 + int(h>>40%37)}
	switch e.kind {
	case '1':
		e.subject = int(h >> 16 % uint64(max(u.stay, 1)))
	case '2':
		// The contracts of last year, which end in this one.
		e.subject = int(h >> 16 % uint64(g.projects(u, 2015)))
	case '3':
		// Half of December's are about the year before, when the post had the same number.
		if e.subject = int(h >> 16 % uint64(u.posts)); m == 0 && e.subject%2 == 0 {
			e.year--
		}
	case '4':
		e.subject = int(h >> 16 % uint64(max(u.open, 1)))
	}
	e.by = "2134"[h>>36%4]
	if k%2 == 0 {
		e.by = '2'
	}
	e.grade = []string{"3", "2", "2", "1"}[(e.score-60)/10]
	return e
}

func (g *Generator) evaluations(u *unit, m int) error {
	var p person
	for k := range g.evaluationsOf(u) {
		h := g.h(saltEval, u.index, m*1000+k)
		e := g.evaluation(u, m, k)
		r := g.begin(fEvaluation, u.index, m, e.day, hour(e.day+1, h>>8))
		r.id("V"+strconv.Itoa(m)+"E", u.code[:2], k)
		r.bytes(own, r.get(eRecord))
		r.str(own+1, string(e.kind))
		switch e.kind {
		case '1':
			r.str(own+2, u.orgs[e.subject].uscc)
		case '2':
			r.str(own+2, "J5P"+u.code[:2]+"N"+strconv.Itoa(e.subject))
		case '3':
			lo := len(r.buf)
			r.buf = g.appendPostID(r.buf, u, e.subject)
			r.close(own+2, lo, text)
		case '4':
			g.person(u, e.subject, &p)
			r.bytes(own+2, p.number(&p.spells[0], m))
		}
		r.str(own+3, string(e.by))
		if e.by == '2' {
			r.str(own+4, creditCode("52", u.area, "MT", u.index*100+k%5))
		}
		r.num(own+5, int64(e.year))
		r.lit(own+6, strconv.Itoa(e.score)+"."+[]string{"0", "5"}[h>>50%2])
		r.str(own+7, e.grade)
		g.day(r, own+8, e.day)
		if err := g.emit(r); err != nil {
			return err
		}
	}
	return nil
}

// site is a demonstration site as reported in a month.
type site struct {
	level, status   string
	named, reviewed int32 // 0: never
}

func (g *Generator) site(u *unit, k, m int) site {
	h := g.h(saltSite, u.index, k)
	s := site{level: []string{"2", "3", "3", "4", "1"}[k%5], status: []string{"1", "2", "2", "3"}[h%4]}
	if s.status == "1" && m >= 6 {
		s.status = "2"
	}
	named := dayOf(2011, 6, 26) + int32(h>>24%1300)
	if s.status != "1" {
		s.named = named
	}
	if s.status == "3" {
		s.reviewed = named + 200
	}
	return s
}

func (u *unit) sites() int { return 4 + u.open/150 }

func (g *Generator) demoSites(u *unit, m int) error {
	if m%3 != 0 {
		return nil
	}
	for k := range u.sites() {
		h := g.h(saltSite, u.index, k)
		r := g.begin(fDemoSite, u.index, m, g.first[m], g.evening(m, h))
		r.id("D", u.code[:2], k)
		r.bytes(own, r.get(eRecord))
		r.str(own+1, u.short+"第"+strconv.Itoa(k+1)+"号禁毒社会工作示范点")
		x := g.site(u, k, m)
		r.str(own+2, x.level)
		r.str(own+3, x.status)
		r.str(own+4, u.counties[h>>8%uint64(len(u.counties))])
		r.str(own+5, u.orgs[h>>16%uint64(max(u.stay, 1))].uscc)
		if x.named > 0 {
			g.day(r, own+6, x.named)
		}
		if x.reviewed > 0 {
			g.day(r, own+7, x.reviewed)
		}
		if err := g.emit(r); err != nil {
			return err
		}
	}
	return nil
}

var docTopics = []string{"purchase,staffing", "training", "pay,incentive", "evaluation", "purchase"}

// document says when a document of a unit is issued and repealed (0: never).
func (g *Generator) document(unit, m, k int) (issued, repealed int32) {
	h := g.h(saltPolicy, unit, m*10+k)
	issued = g.first[m] + int32(h%24)
	if h>>16%4 == 0 {
		repealed = issued + 100
	}
	return issued, repealed
}

func (g *Generator) policy(unit int, office, title, division string, m, k int) error {
	h := g.h(saltPolicy, unit, m*10+k)
	day, repealed := g.document(unit, m, k)
	r := g.begin(fPolicy, unit, m, day, hour(day+1, h>>8))
	r.id("L"+strconv.Itoa(m)+"D", g.unitCode(unit)[:2], k)
	r.str(own, office+"〔"+g.days[day-dayMin][:4]+"〕"+strconv.Itoa(m*3+k+1)+"号")
	r.str(own+1, title)
	r.codes(own+2, docTopics[(m+k)%5])
	r.str(own+3, string("SPV"[(m+k)%3]))
	r.str(own+4, division)
	g.day(r, own+5, day)
	if repealed > 0 {
		g.day(r, own+6, repealed)
	}
	return g.emit(r)
}

func (g *Generator) policies(u *unit, m int) error {
	if !u.issues(m) {
		return nil
	}
	return g.policy(u.index, u.short+"禁毒办发", u.short+"禁毒社会工作者队伍建设实施办法", u.counties[0][:2]+u.counties[m%len(u.counties)][2:], m, 0)
}

// issues says whether a unit issues a document in a month.
func (u *unit) issues(m int) bool { return (m+u.index)%2 == 0 }

// adjusted says whether a county's pay standard is adjusted regularly, and one
// that the national office sets for a province.
func (u *unit) adjusted(c int) bool { return (c+u.index)%3 != 0 }
func adjustedByOffice(k int) bool   { return k%3 == 0 }

func (g *Generator) payStandards(u *unit, m int) error {
	if m != 1 {
		return nil
	}
	for c := range min(8, len(u.counties)) {
		for level := range 4 {
			r := g.begin(fPay, u.index, m, dayOf(2016, 1, 1), g.evening(m, g.h(saltPay, u.index, c*4+level)))
			r.id("S", u.code[:2], c*4+level)
			r.str(own, u.counties[c])
			r.str(own+1, string(rune('0'+level)))
			r.num(own+2, int64(260_000+level*60_000+u.cert*2_000))
			r.truth(own+3, u.adjusted(c))
			if err := g.emit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

var townships = []string{"城关镇", "河东街道", "河西街道", "新华街道", "解放路街道", "东风镇", "和平街道"}

// station is a station's township and when it opened.
func (g *Generator) station(u *unit, c, k int) (township string, opened int32) {
	h := g.h(saltStation, u.index, c*4+k)
	return townships[h%uint64(len(townships))], dayOf(2012, 1, 1) + int32(h>>8%1780)
}

func (g *Generator) stations(u *unit, m int) error {
	for c := range u.counties {
		for k := range 1 + c%2 {
			township, opened := g.station(u, c, k)
			opens := opened >= g.first[m] && opened <= g.last[m]
			if !opens && !(m == 0 && opened < g.first[0]) {
				continue
			}
			at := g.load(g.h(saltStation, u.index, c*4+k))
			if opens {
				at = hour(opened+1, g.h(saltTime, u.index, 8_000_000+c*4+k))
			}
			r := g.begin(fStation, u.index, m, max(opened, g.first[0]), at)
			r.id("Z", u.code[:2], c*4+k)
			r.bytes(own, r.get(eRecord))
			r.str(own+1, u.counties[c])
			r.str(own+2, township)
			g.day(r, own+3, opened)
			if err := g.emit(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// noise sends what is no record at all.
func (g *Generator) noise(u *unit, m int) error {
	switch h := g.h(saltPlant, u.index, m+1); {
	case h%14 != 0:
		return nil
	default:
		i := u.index
		if err := g.garbage(i, "not_json", "message_undecodable", singleHeaders, []byte("{这不是数据")); err != nil {
			return err
		}
		if err := g.garbage(i, "empty_message", "message_empty", nil, nil); err != nil {
			return err
		}
		if err := g.garbage(i, "unknown_content_type", "content_type_unknown", []Header{{"content-type", []byte("application/xml")}}, []byte("<记录/>")); err != nil {
			return err
		}
		if err := g.garbage(i, "unknown_feed", "feed_unknown", singleHeaders,
			[]byte(`{"schema_version":1,"reporting_unit":"`+u.code+`","feed":"volunteers","batch_id":"B1","record_id":"R1","op":"U","period":"201611","effective_from":"2016-11-01","reported_at":"2016-11-02T09:00:00+08:00"}`)); err != nil {
			return err
		}
	}
	if !g.large {
		g.large = true
		big := make([]byte, 5<<20)
		for i := range big {
			big[i] = ' '
		}
		big[0], big[len(big)-1] = '{', '}'
		return g.garbage(u.index, "message_of_5_mb", "message_too_large", singleHeaders, big)
	}
	return nil
}

// Personal yields every identity number, name and mobile number that the
// messages hold, and every planted writing of one, so that a leak can be looked
// for. Call it after Messages. It stops when yield returns false.
func (g *Generator) Personal(yield func(kind, value string) bool) {
	var p person
	for _, u := range g.units {
		for n := range u.persons() {
			g.person(u, n, &p)
			id := string(p.id[:])
			if !yield("identity", id) || !yield("identity_15", id[:6]+id[8:17]) ||
				!yield("name", string(p.name)) || !yield("mobile", string(p.mobile[:])) {
				return
			}
			if p.renewed > 0 && !yield("identity", string(p.former[:])) {
				return
			}
		}
	}
	for _, v := range g.raw {
		if !yield("raw", v) {
			return
		}
	}
}
