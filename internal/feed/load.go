package feed

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"

	"github.com/duiwu/duiwu/internal/strict"
)

// Problem is one fault of one file, Problems every fault that Load found.
type (
	Problem  = strict.Problem
	Problems = strict.Problems
)

// Catalogue is the national contract: every feed and all that the feeds refer to.
// It is immutable once loaded and may be shared by any number of goroutines.
type Catalogue struct {
	// Feeds are sorted by name.
	Feeds []*Spec
	Lists map[string]*List
	// Divisions are the county-level codes and above, with dates.
	Divisions *Divisions
	// Units are the 34 provincial units, the Corps and the national office, by code.
	Units    []UnitInfo
	Targets  []Target
	Calendar *Calendar
	// Forbidden lists the names, Chinese and English, of fields that no feed may
	// carry (privacy class P4), lower case.
	Forbidden []string

	feeds     map[string]*Spec
	units     map[string]*UnitInfo
	unitText  map[string]string
	forbidden map[string]bool
}

// Feed returns the feed of that name, or nil.
func (c *Catalogue) Feed(name string) *Spec { return c.feeds[name] }

// List returns the code list of that name, or nil.
func (c *Catalogue) List(name string) *List { return c.Lists[name] }

// Unit returns the unit of that code, or nil.
func (c *Catalogue) Unit(code string) *UnitInfo { return c.units[code] }

// LookupUnit turns a unit's code, its Chinese name or a short form of it into its
// code. The caller has folded width and trimmed; nothing is allocated.
func (c *Catalogue) LookupUnit(raw []byte) (code string, ok bool) {
	if len(raw) == 0 {
		return "", false
	}
	code, ok = c.unitText[string(raw)]
	return code, ok
}

// IsForbidden says whether a column heading names something that no feed may
// carry. Case, spaces, hyphens and underscores do not matter.
func (c *Catalogue) IsForbidden(heading string) bool { return c.forbidden[foldHeading(heading)] }

func foldHeading(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case ' ', '_', '-', '\u3000', '\t':
			return -1
		}
		return r
	}, strings.ToLower(s))
}

// Load reads the contract from fsys: *.yaml (one feed each), codes/*.csv,
// divisions.csv, units.csv, targets.csv, holidays.csv and forbidden.csv. Its
// error is a Problems with every fault of every file.
func Load(fsys fs.FS) (*Catalogue, error) {
	var ps Problems
	c := &Catalogue{
		Lists:     map[string]*List{},
		feeds:     map[string]*Spec{},
		units:     map[string]*UnitInfo{},
		unitText:  map[string]string{},
		forbidden: map[string]bool{},
	}
	codes, _ := fs.Glob(fsys, "codes/*.csv") // the pattern is well formed
	for _, name := range codes {
		l := loadCodeList(fsys, name, &ps)
		c.Lists[l.Name] = l
	}
	c.Divisions = loadDivisions(fsys, "divisions.csv", &ps)
	c.Units = loadUnits(fsys, "units.csv", &ps)
	for i := range c.Units {
		u := &c.Units[i]
		c.units[u.Code] = u
		// Romanised names are left out: Shanxi and Shaanxi, Henan and Hainan slip.
		for _, text := range append([]string{u.Code, u.Zh, u.ShortZh, u.Abbr}, u.Aliases...) {
			if other, ok := c.unitText[text]; ok && text != "" && other != u.Code {
				ps = append(ps, Problem{File: "units.csv", Text: "“" + text + "” names both " + other + " and " + u.Code + "; one word has one unit"})
			}
			c.unitText[text] = u.Code
		}
	}
	c.Targets = loadTargets(fsys, "targets.csv", &ps)
	c.Calendar = loadCalendar(fsys, "holidays.csv", &ps)
	c.Forbidden = loadForbidden(fsys, "forbidden.csv", &ps)
	for _, name := range c.Forbidden {
		c.forbidden[foldHeading(name)] = true
	}
	files, _ := fs.Glob(fsys, "*.yaml")
	if len(files) == 0 {
		ps = append(ps, Problem{File: "*.yaml", Text: "there is no feed file; add one"})
	}
	for _, name := range files {
		s := c.loadSpec(fsys, name, &ps)
		if s == nil {
			continue
		}
		if c.feeds[s.Feed] == nil {
			c.feeds[s.Feed] = s
			c.Feeds = append(c.Feeds, s)
		}
	}
	sort.Slice(c.Feeds, func(i, j int) bool { return c.Feeds[i].Feed < c.Feeds[j].Feed })
	if len(ps) > 0 {
		ps.Sort()
		return nil, ps
	}
	return c, nil
}

func (c *Catalogue) loadSpec(fsys fs.FS, name string, ps *Problems) *Spec {
	d := strict.New(name, ps)
	raw, err := fs.ReadFile(fsys, name)
	if err != nil {
		d.Problem(0, "cannot read the file: %v", err)
		return nil
	}
	s := &Spec{}
	if !d.Decode(raw, s, "feed: "+strings.TrimSuffix(path.Base(name), ".yaml")) {
		return nil
	}
	c.validate(s, d)
	s.index()
	return s
}

// isSnake says whether a name is lower_snake: a letter, then letters, digits
// and single underscores.
func isSnake(s string) bool {
	if s == "" || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '_' || strings.Contains(s, "__") {
		return false
	}
	for i := range len(s) {
		if b := s[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '_' {
			return false
		}
	}
	return true
}

func (c *Catalogue) validate(s *Spec, d *strict.File) {
	want := strings.TrimSuffix(path.Base(d.Name()), ".yaml")
	switch {
	case !isSnake(s.Feed):
		d.At("feed", "feed %q is not a lower_snake name; use letters a-z, digits and underscores", s.Feed)
	case s.Feed != want:
		d.At("feed", "feed %q stands in a file of another name; rename the file to %s.yaml", s.Feed, s.Feed)
	}
	if s.Version < 1 {
		d.At("version", "version must be 1 or more; write version: 1 for a new feed")
	}
	lingual(d, "feed "+s.Feed, s.Zh, s.En, "")
	if s.Doc.Zh == "" || s.Doc.En == "" {
		d.At("doc", "doc needs zh and en; say in one sentence what a record is")
	}
	switch s.History {
	case Snapshot, Spell, Event:
	default:
		d.At("history", "history %q is unknown; use snapshot, spell or event", s.History)
	}
	if !isRhythm(s.Rhythm) {
		d.At("rhythm", "rhythm %q is unknown; use daily, monthly, quarterly, yearly or event", s.Rhythm)
	}
	if len(s.Fields) == 0 {
		d.At("fields", "the feed has no fields; list at least its natural key")
	}
	byName := map[string]*Field{}
	columns := map[string]string{}
	for i := range Envelope {
		byName[Envelope[i].Name] = &Envelope[i]
		columns[Envelope[i].Column()] = Envelope[i].Name
	}
	for i := range s.Fields {
		c.validateField(s, i, byName, columns, d)
	}
	if len(s.NaturalKey) == 0 {
		d.At("natural_key", "natural_key is empty; name the fields that identify the thing in the world")
	}
	seen := map[string]bool{}
	for i, k := range s.NaturalKey {
		p := fmt.Sprintf("natural_key[%d]", i)
		switch f := byName[k]; {
		case f == nil:
			d.At(p, "natural_key names %q, which is no field of this feed; add the field or correct the name", k)
		case seen[k]:
			d.At(p, "natural_key names %q twice; keep one", k)
		case !f.Current:
			d.At(p, "natural_key names %q, which is not current; indicators count natural keys, so add current: true to the field", k)
		case Index(Envelope, k) < 0 && !f.Required:
			d.At(p, "natural_key names %q, which is not required; add required: true to the field", k)
		}
		seen[k] = true
	}
	for i := range s.Checks {
		c.validateCheck(s, i, byName, d)
	}
	for i, name := range s.Forbidden {
		if byName[name] != nil {
			d.At(fmt.Sprintf("forbidden[%d]", i), "%q is forbidden and a field at once; remove one of the two", name)
		}
	}
}

// Index returns the position of the field of that name in a list, or -1.
func Index(fields []Field, name string) int {
	for i := range fields {
		if fields[i].Name == name {
			return i
		}
	}
	return -1
}

func lingual(d *strict.File, what, zh, en, path string) {
	dot := func(s string) string {
		if path == "" {
			return s
		}
		return path + "." + s
	}
	if zh == "" {
		d.At(dot("zh"), "%s has no zh; write its Chinese heading", what)
	}
	if en == "" {
		d.At(dot("en"), "%s has no en; write its English heading", what)
	}
}

func (c *Catalogue) validateField(s *Spec, i int, byName map[string]*Field, columns map[string]string, d *strict.File) {
	f := &s.Fields[i]
	at := fmt.Sprintf("fields[%d]", i)
	if d.Broken(at) {
		return
	}
	switch {
	case !isSnake(f.Name):
		d.At(at+".name", "field %q is not a lower_snake name; use letters a-z, digits and underscores", f.Name)
	case Index(Envelope, f.Name) >= 0:
		d.At(at+".name", "field %q belongs to the envelope, which every record carries; remove it here", f.Name)
	case byName[f.Name] != nil:
		d.At(at+".name", "field %q stands twice; rename or remove one", f.Name)
	case c.IsForbidden(f.Name) || c.IsForbidden(f.Zh):
		d.At(at+".name", "field %q is on the national list of what must not be received; remove it", f.Name)
	}
	if byName[f.Name] == nil {
		byName[f.Name] = f
	}
	lingual(d, "field "+f.Name, f.Zh, f.En, at)
	for j, alias := range f.Aliases {
		here := fmt.Sprintf("%s.aliases[%d]", at, j)
		for k := range s.Fields {
			g := &s.Fields[k]
			switch own := slices.Index(g.Aliases, alias); {
			case alias == "":
				d.At(here, "an alias of field %s is empty; remove it", f.Name)
			case alias == g.Name || alias == g.Zh || alias == g.En:
				d.At(here, "alias %q is the heading of field %s already; remove it", alias, g.Name)
			case own >= 0 && (k < i || k == i && own < j):
				d.At(here, "alias %q stands at field %s already; one heading proposes one field", alias, g.Name)
			default:
				continue
			}
			break
		}
	}
	if (f.Doc.Zh == "") != (f.Doc.En == "") {
		d.At(at+".doc", "doc of field %s needs both zh and en", f.Name)
	}
	switch f.Privacy {
	case P0, P1, P2, P3:
	case P4:
		d.At(at+".privacy", "field %s is of class P4, which must not be received; remove it", f.Name)
	default:
		d.At(at+".privacy", "privacy %q of field %s is unknown; use P0, P1, P2 or P3", f.Privacy, f.Name)
	}
	if f.Since < 0 || f.Since > s.Version {
		d.At(at+".since", "since %d of field %s is not between 1 and version %d", f.Since, f.Name, s.Version)
	}
	k := f.Kind.Kind
	if k == NoKind {
		if !d.Broken(at + ".kind") {
			d.At(at, "field %s has no kind; use one of %s", f.Name, kindNames())
		}
		return
	}
	switch hasList := k == Code || k == Codes || k == Pay; {
	case hasList && f.List == "":
		d.At(at, "field %s of kind %s needs a list; name one of %s", f.Name, k, c.listNames())
	case !hasList && f.List != "":
		d.At(at+".list", "field %s of kind %s takes no list; remove it, or use kind code", f.Name, k)
	case hasList && c.Lists[f.List] == nil:
		d.At(at+".list", "unknown list %q; use one of %s, or add codes/%s.csv", f.List, c.listNames(), f.List)
	}
	switch personal := k.Info().Personal; {
	case personal && f.Privacy != P3 && f.Privacy != "":
		d.At(at+".privacy", "field %s of kind %s is a direct identifier; its privacy is P3", f.Name, k)
	case !personal && f.Privacy == P3:
		d.At(at+".privacy", "field %s is P3, but kind %s would store it as sent; use a kind that becomes a token, a year or a band", f.Name, k)
	}
	if f.Partial && k != Date {
		d.At(at+".partial", "field %s of kind %s cannot be partial; only dates can", f.Name, k)
	}
	bounded := k == Integer || k == Tenths || k == Money || k == Pay
	if f.Min != nil && !bounded {
		d.At(at+".min", "field %s of kind %s takes no min; only integer, tenths, money and pay do", f.Name, k)
	}
	if f.Max != nil && !bounded {
		d.At(at+".max", "field %s of kind %s takes no max; only integer, tenths, money and pay do", f.Name, k)
	}
	if f.Min != nil && f.Max != nil && *f.Min > *f.Max {
		d.At(at+".max", "max of field %s is below its min; swap them", f.Name)
	}
	if f.Current {
		switch {
		case k == PersonName || k == Mobile || k == Secret:
			d.At(at+".current", "field %s of kind %s cannot be current; dashboards never read it, remove current", f.Name, k)
		case f.Deprecated != "":
			d.At(at+".current", "field %s is deprecated and current at once; remove current", f.Name)
		}
	}
	names := []string{f.Column()}
	if f.Partial {
		names = append(names, f.Name+"_precision")
	}
	for _, col := range names {
		if other, ok := columns[col]; ok && other != f.Name {
			d.At(at+".name", "field %s would be stored as column %s, which field %s has already; rename it", f.Name, col, other)
		}
		columns[col] = f.Name
	}
}

func (c *Catalogue) listNames() string {
	var out []string
	for n := range c.Lists {
		out = append(out, n)
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

// checkArgs says which kinds the arguments of each rule between fields have.
var checkArgs = map[string][][]Kind{
	"date_order":         {{Date, Period}, {Date, Period}},
	"required_with":      {nil, nil},
	"ric_sex_mismatch":   {{Code}, {ResidentID}},
	"ric_birth_mismatch": {{Birth}, {ResidentID}},
	"org_type_mismatch":  {{Code}, {CreditCode}},
	"evaluator_self":     {{CreditCode}, {Subject}},
	"id_unchanged":       {{ResidentID}, {ResidentID}},
}

// CheckRules lists the rules that a feed file may name in checks.
func CheckRules() []string {
	out := make([]string, 0, len(checkArgs))
	for r := range checkArgs {
		out = append(out, r)
	}
	sort.Strings(out)
	return out
}

func (c *Catalogue) validateCheck(s *Spec, i int, byName map[string]*Field, d *strict.File) {
	ch := &s.Checks[i]
	at := fmt.Sprintf("checks[%d]", i)
	if d.Broken(at) {
		return
	}
	args, ok := checkArgs[ch.Rule]
	if !ok {
		d.At(at+".rule", "unknown rule %q between fields; use one of %s", ch.Rule, strings.Join(CheckRules(), ", "))
	} else if len(args) != len(ch.Fields) {
		d.At(at+".fields", "rule %s takes %d fields, not %d", ch.Rule, len(args), len(ch.Fields))
	}
	for j, name := range ch.Fields {
		f := byName[name]
		p := fmt.Sprintf("%s.fields[%d]", at, j)
		if f == nil {
			d.At(p, "rule %s names %q, which is no field of this feed; add the field or correct the name", ch.Rule, name)
			continue
		}
		if j < len(args) && args[j] != nil && !containsKind(args[j], f.Kind.Kind) && f.Kind.Kind != NoKind {
			d.At(p, "rule %s wants a field of kind %s here, and %s is of kind %s", ch.Rule, joinKinds(args[j]), name, f.Kind)
		}
	}
	if ch.When == nil {
		return
	}
	f := byName[ch.When.Field]
	switch {
	case f == nil:
		d.At(at+".when.field", "when names %q, which is no field of this feed; add the field or correct the name", ch.When.Field)
		return
	case f.Kind.Kind != Code:
		d.At(at+".when.field", "when can look at fields of kind code only, and %s is of kind %s", ch.When.Field, f.Kind)
		return
	case len(ch.When.Is) == 0:
		d.At(at+".when", "when lists no code; write is: [code]")
	}
	if l := c.Lists[f.List]; l != nil {
		for j, code := range ch.When.Is {
			if _, ok := l.Index(code); !ok {
				d.At(fmt.Sprintf("%s.when.is[%d]", at, j), "%q is no code of list %s", code, l.Name)
			}
		}
	}
}

func containsKind(ks []Kind, k Kind) bool {
	for _, x := range ks {
		if x == k {
			return true
		}
	}
	return false
}

func joinKinds(ks []Kind) string {
	out := make([]string, len(ks))
	for i, k := range ks {
		out[i] = k.String()
	}
	return strings.Join(out, " or ")
}
