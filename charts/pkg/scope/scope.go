// Package scope is the one place that decides who may see which units, and the
// only one that holds a connection to the database: no statement can be asked
// without saying on whose behalf.
//
// It knows nothing of Grafana. Whoever receives a request says who asks, in the
// words of the server that has checked it, never in those of a browser.
package scope

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Reach is what may be seen: the nation, some units, or (its zero) nothing. In
// settings it is "nation", "none", a unit's code or a list of them.
type Reach struct {
	nation bool
	units  []string // sorted
}

// Nation sees every unit.
func Nation() Reach { return Reach{nation: true} }

// Units sees some.
func Units(codes ...string) Reach {
	codes = slices.Clone(codes)
	slices.Sort(codes)
	return Reach{units: slices.Compact(codes)}
}

// UnmarshalJSON reads a reach as an administrator writes it.
func (r *Reach) UnmarshalJSON(raw []byte) error {
	var one string
	if err := json.Unmarshal(raw, &one); err == nil {
		switch one {
		case "nation":
			*r = Nation()
		case "none":
			*r = Reach{}
		default:
			*r = Units(one)
		}
		return nil
	}
	var many []string
	if err := json.Unmarshal(raw, &many); err != nil || many == nil {
		return fmt.Errorf(`a scope is "nation", "none", or a list of unit codes such as ["310000"]`)
	}
	*r = Units(many...)
	return nil
}

// both is what two reaches have in common.
func (r Reach) both(o Reach) Reach {
	switch {
	case r.nation:
		return o
	case o.nation:
		return r
	}
	return Reach{units: slices.DeleteFunc(slices.Clone(r.units), func(u string) bool { return !slices.Contains(o.units, u) })}
}

func (r Reach) either(o Reach) Reach {
	if r.nation || o.nation {
		return Nation()
	}
	return Units(append(slices.Clone(r.units), o.units...)...)
}

// String is nation, none, or the units' codes.
func (r Reach) String() string {
	switch {
	case r.nation:
		return "nation"
	case len(r.units) == 0:
		return "none"
	}
	return strings.Join(r.units, ",")
}

// Policy is what the settings of a datasource declare. Who is not named gets
// Default, and what is not declared at all sees nothing.
type Policy struct {
	// Users are logins, exactly as the server that checked them writes them.
	Users map[string]Reach `json:"users,omitempty"`
	// Teams are lists of logins: a backend is not told in which teams a user is.
	// Who is in two of them sees what either does.
	Teams map[string]Team `json:"teams,omitempty"`
	// Orgs are organisations by their number.
	Orgs map[string]Reach `json:"orgs,omitempty"`
	// Alerts is what rules see, Public what pages see that nobody signs in to. In
	// an organisation that Orgs names, neither sees more than it does.
	Alerts  Reach `json:"alerts"`
	Public  Reach `json:"public"`
	Default Reach `json:"default"`
	// Counties says whether who sees the nation sees below the province as well;
	// who sees some units always sees below his own.
	Counties bool `json:"counties,omitempty"`
}

// Team is a list of people with one reach.
type Team struct {
	Logins []string `json:"logins"`
	Units  Reach    `json:"units"`
}

// Everything is the policy of a machine that has one user: a laptop, a test.
func Everything() *Policy {
	return &Policy{Alerts: Nation(), Public: Nation(), Default: Nation(), Counties: true}
}

// ShowsNation says whether it lets any person see the nation. No policy does not.
func (p *Policy) ShowsNation() bool {
	if p == nil {
		return false
	}
	for where, r := range p.reaches() {
		if r.nation && where != "alerts" {
			return true
		}
	}
	return false
}

// reaches are all that it declares, by the place in the settings.
func (p *Policy) reaches() map[string]Reach {
	out := map[string]Reach{"alerts": p.Alerts, "public": p.Public, "default": p.Default}
	for login, r := range p.Users {
		out["users."+login] = r
	}
	for name, t := range p.Teams {
		out["teams."+name] = t.Units
	}
	for org, r := range p.Orgs {
		out["orgs."+org] = r
	}
	return out
}

// UnmarshalJSON refuses keys that it does not know: a misspelt one would
// silently be a narrower or a wider policy than was meant.
func (p *Policy) UnmarshalJSON(raw []byte) error {
	type plain Policy
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	return dec.Decode((*plain)(p))
}

// Check refuses what can never come true: a unit that is none, an organisation
// that is no number, the name by which alert rules ask.
func (p *Policy) Check(unit func(code string) bool) error {
	for login := range p.Users {
		if login == "" || login == scheduler {
			return fmt.Errorf("cannot use the scope: %q is no person's login; say what rules see under alerts, and what anybody sees under public", login)
		}
	}
	for name, t := range p.Teams {
		if slices.Contains(t.Logins, "") || slices.Contains(t.Logins, scheduler) {
			return fmt.Errorf("cannot use the scope: team %s lists a login that no person has", name)
		}
	}
	for org := range p.Orgs {
		if n, err := strconv.ParseInt(org, 10, 64); err != nil || n < 1 {
			return fmt.Errorf("cannot use the scope: organisation %q is no number; it stands in the address of its administration page", org)
		}
	}
	for where, r := range p.reaches() {
		for _, u := range r.units {
			if !unit(u) {
				return fmt.Errorf(`cannot use the scope: %s names %q, which is no reporting unit; write a code such as "310000", "nation" or "none"`, where, u)
			}
		}
	}
	return nil
}

// scheduler is the login under which Grafana evaluates alert rules. A rule that
// is tried out in the editor runs as the person who tries it.
const scheduler = "grafana_scheduler"

// Asker is who asks, as the server says that has checked it.
type Asker struct {
	Login, Email string
	Org          int64
	// Alert is the mark that the server puts on the queries of rules. It counts
	// only together with the scheduler's login: some ways into the server let a
	// browser send it.
	Alert bool
}

// Scope is who asks and what he may see. Only Of and Process make one that sees
// anything.
type Scope struct {
	who   string
	org   int64
	reach Reach
	below bool // the nation's provinces
}

// Process is the scope of a program that no request reaches, such as a job that
// publishes figures.
func Process(name string) Scope { return Scope{who: name, reach: Nation()} }

// Of decides. A nil policy sees nothing.
func (p *Policy) Of(a Asker) Scope {
	s := Scope{who: a.Login, org: a.Org}
	rule := a.Login == scheduler && a.Alert && a.Email == ""
	switch {
	case a.Login == "":
		s.who = "public"
	case rule:
		s.who = "alert"
	}
	if p == nil {
		return s
	}
	s.below = p.Counties
	org, declared := p.Orgs[strconv.FormatInt(a.Org, 10)]
	cut := func(r Reach) Reach {
		if declared {
			return r.both(org)
		}
		return r
	}
	switch {
	case a.Login == "":
		s.reach = cut(p.Public)
		return s
	case rule:
		s.reach = cut(p.Alerts)
		return s
	case a.Login == scheduler:
		return s // a person who took the name
	}
	if r, ok := p.Users[a.Login]; ok {
		s.reach = r
		return s
	}
	named := false
	for _, t := range p.Teams {
		if slices.Contains(t.Logins, a.Login) {
			s.reach, named = s.reach.either(t.Units), true
		}
	}
	switch {
	case named:
	case declared:
		s.reach = org
	default:
		s.reach = p.Default
	}
	return s
}

// Who asks: a login, public or alert. Org is the organisation in which he does.
func (s Scope) Who() string { return s.who }
func (s Scope) Org() int64  { return s.org }

// Nation says whether every unit may be seen, None whether none may.
func (s Scope) Nation() bool { return s.reach.nation }
func (s Scope) None() bool   { return !s.reach.nation && len(s.reach.units) == 0 }

// Sees says whether a unit's own figures and records may be seen.
func (s Scope) Sees(unit string) bool {
	return s.reach.nation || unit != "" && slices.Contains(s.reach.units, unit)
}

// SeesBelow says whether a unit's own parts may be seen.
func (s Scope) SeesBelow(unit string) bool {
	return s.Sees(unit) && (s.below || !s.reach.nation)
}

// Of keeps the units that may be seen.
func (s Scope) Of(units []string) []string {
	return slices.DeleteFunc(slices.Clone(units), func(u string) bool { return !s.Sees(u) })
}

// String is what may be seen, not who asks: answers are kept under it.
func (s Scope) String() string { return s.reach.String() }
