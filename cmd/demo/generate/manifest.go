package generate

import "sort"

// Count is what the pipeline must count of one feed.
type Count struct {
	Received       int64            `json:"received"`
	Outcomes       map[string]int64 `json:"outcomes"`
	RejectedByRule map[string]int64 `json:"rejected_by_rule,omitempty"`
	// Warnings counts the warnings of stored records.
	Warnings map[string]int64 `json:"warnings,omitempty"`
}

// Planted says how often a kind of mess was planted.
type Planted struct {
	Kind  string `json:"kind"`
	Count int64  `json:"count"`
}

// Manifest says what was generated and what must come out of it.
type Manifest struct {
	Seed uint64 `json:"seed"`
	// Asked is Config.Records, Records what was made of it.
	Asked    int    `json:"asked"`
	Records  int64  `json:"records"`
	Messages int64  `json:"messages"`
	Today    string `json:"today"`
	// Scale is 1 for the full world of 29,000 workers and less below 150,000 records.
	Scale float64 `json:"scale"`
	// Units are the reporting units; LateUnits have not sent November.
	Units     []string `json:"units"`
	LateUnits []string `json:"late_units"`
	// Forms counts records by wire form.
	Forms map[string]int64 `json:"forms"`
	// Feeds is by feed name; "" holds what no feed can be told of.
	Feeds map[string]*Count `json:"feeds"`
	Total Count             `json:"total"`
	// DerivedVoids counts by feed the voids that op C implies; they are no records.
	DerivedVoids map[string]int64 `json:"derived_voids"`
	Planted      []Planted        `json:"planted"`
	// Freshness is the last accepted reported_at by unit and feed (I-40).
	Freshness map[string]map[string]string `json:"freshness"`
	Expected  []MonthFigures               `json:"expected"`

	planted map[string]int64
}

func (m *Manifest) of(feed string) *Count {
	c := m.Feeds[feed]
	if c == nil {
		c = &Count{Outcomes: map[string]int64{}, RejectedByRule: map[string]int64{}, Warnings: map[string]int64{}}
		m.Feeds[feed] = c
	}
	return c
}

// Figures are one area's at one month's end.
type Figures struct {
	Workers    int64            `json:"workers"`     // I-01
	ByCategory map[string]int64 `json:"by_category"` // I-01 by category
	// RegisteredUsers over Workers is I-03, Workers over it I-10, over
	// Population I-09.
	RegisteredUsers int64   `json:"registered_users"`
	Population      int64   `json:"population"`
	UsersPerWorker  float64 `json:"users_per_worker"`
	Gap             int64   `json:"gap"` // I-06
	Per10k          float64 `json:"per_10k_residents"`
	Per1kUsers      float64 `json:"per_1k_users"`
	Orgs            int64   `json:"orgs"`      // I-14
	Trained         int64   `json:"trained"`   // I-16, numerator
	Certified       int64   `json:"certified"` // I-20, numerator
	TrainedShare    float64 `json:"trained_share"`
	CertifiedShare  float64 `json:"certified_share"`
	ProjectFen      int64   `json:"project_fen"` // I-24, mode 1, year to date
	PostFen         int64   `json:"post_fen"`    // I-24, mode 2, year to date
	// Present counts persons with an open spell in the unit, primary or not;
	// nationally the persons that two units report (I-37).
	Present int64 `json:"present"`
}

// MonthFigures are the figures of one month's last day.
type MonthFigures struct {
	Month  string              `json:"month"`
	Day    string              `json:"day"`
	Nation Figures             `json:"nation"`
	Units  map[string]*Figures `json:"units"`
}

func ratio(a, b int64, times float64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) * times / float64(b)
}

func (f *Figures) finish() {
	f.UsersPerWorker = ratio(f.RegisteredUsers, f.Workers, 1)
	f.Per10k = ratio(f.Workers, f.Population, 10_000)
	f.Per1kUsers = ratio(f.Workers, f.RegisteredUsers, 1_000)
	f.TrainedShare = ratio(f.Trained, f.Workers, 1)
	f.CertifiedShare = ratio(f.Certified, f.Workers, 1)
}

// figures computes what the indicators must show from the world itself, not
// from what was sent.
func (g *Generator) figures() []MonthFigures {
	out := make([]MonthFigures, months)
	counties := make([][][]int64, months)
	for m := range out {
		out[m] = MonthFigures{Month: g.days[g.last[m]-dayMin][:7], Day: g.days[g.last[m]-dayMin], Units: map[string]*Figures{}}
		out[m].Nation.ByCategory = map[string]int64{"01": 0, "02": 0, "03": 0}
		for _, u := range g.units {
			out[m].Units[u.code] = &Figures{ByCategory: map[string]int64{"01": 0, "02": 0, "03": 0}}
			counties[m] = append(counties[m], make([]int64, len(u.counties)))
		}
	}
	var p person
	for _, u := range g.units {
		for n := range u.persons() {
			g.person(u, n, &p)
			for m := range out {
				day := g.last[m]
				best := p.primary(day)
				if best < 0 {
					continue
				}
				s := &p.spells[best]
				f, nation := out[m].Units[g.units[s.unit].code], &out[m].Nation
				f.Workers++
				f.ByCategory[s.category]++
				nation.Workers++
				nation.ByCategory[s.category]++
				counties[m][s.unit][s.county]++
				here := 0
				for i := range p.nspells {
					if s := &p.spells[i]; s.start <= day && (s.end == 0 || s.end > day) {
						out[m].Units[g.units[s.unit].code].Present++
						here++
					}
				}
				if here > 1 {
					nation.Present++
				}
				for i := range p.ncerts {
					if c := &p.certs[i]; c.issued <= day && c.status != '4' {
						f.Certified++
						nation.Certified++
						break
					}
				}
				for i := range p.natt {
					if a := &p.att[i]; a.passed && a.day <= day && (a.month == 0) == (m == 0) {
						f.Trained++
						nation.Trained++
						break
					}
				}
			}
		}
	}
	for m := range out {
		nation := &out[m].Nation
		for _, u := range g.units {
			f := out[m].Units[u.code]
			for c := range u.counties {
				users := g.usersOf(u, c, m)
				f.RegisteredUsers += users
				f.Population += u.population[c]
				f.Gap += max(0, (users+29)/30-counties[m][u.index][c])
			}
			for k := range u.orgs {
				o := &u.orgs[k]
				if !o.suspended && o.founded <= g.last[m] && (o.closed == 0 || o.closed > g.last[m]) {
					f.Orgs++
				}
			}
			year := 2016
			if m == 0 {
				year = 2015
			}
			for k := range g.projects(u, year) {
				if c := g.project(u, year, k); c.start <= g.last[m] {
					f.ProjectFen += c.amount
				}
			}
			for k := range u.posts {
				if c := g.post(u, year, k); c.start <= g.last[m] {
					f.PostFen += c.price
				}
			}
			nation.RegisteredUsers += f.RegisteredUsers
			nation.Population += f.Population
			nation.Gap += f.Gap
			nation.Orgs += f.Orgs
			nation.ProjectFen += f.ProjectFen
			nation.PostFen += f.PostFen
			f.finish()
		}
		nation.finish()
	}
	return out
}

// Manifest says what must come out; it is complete once Messages has ended.
func (g *Generator) Manifest() Manifest {
	m := g.man
	m.Planted = nil
	for k, n := range m.planted {
		m.Planted = append(m.Planted, Planted{k, n})
	}
	sort.Slice(m.Planted, func(i, j int) bool { return m.Planted[i].Kind < m.Planted[j].Kind })
	m.Total = Count{Outcomes: map[string]int64{}, RejectedByRule: map[string]int64{}, Warnings: map[string]int64{}}
	for _, c := range m.Feeds {
		m.Total.Received += c.Received
		for k, n := range c.Outcomes {
			m.Total.Outcomes[k] += n
		}
		for k, n := range c.RejectedByRule {
			m.Total.RejectedByRule[k] += n
		}
		for k, n := range c.Warnings {
			m.Total.Warnings[k] += n
		}
	}
	m.Records = m.Total.Received
	m.Freshness = map[string]map[string]string{}
	for u := range g.fresh {
		by := map[string]string{}
		for f, at := range g.fresh[u] {
			if at > 0 {
				by[feedNames[f]] = clock(at).Format("2006-01-02T15:04:05-07:00")
			}
		}
		m.Freshness[g.unitCode(u)] = by
	}
	m.Expected = g.figures()
	return m
}
