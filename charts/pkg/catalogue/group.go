package catalogue

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/duiwu/duiwu/internal/feed"
)

// groupsFile holds the dimensions that are no code list of the contract, and
// says where a person's attribute stands.
const groupsFile = "groups.yaml"

// Group is a dimension of the catalogue itself.
type Group struct {
	Name string `yaml:"name"`
	// Feed and Field are where a person's attribute stands; empty for a dimension
	// that only names what a measure computes.
	Feed  string `yaml:"feed,omitempty"`
	Field string `yaml:"field,omitempty"`
	// By says how the value becomes a code: is (the value itself, through Is of
	// the codes when they have it), years (since the date or year in Field), range
	// (of a number of the record that is counted), or a column of the field's code
	// list.
	By string `yaml:"by,omitempty"`
	// Date, UnlessField and Unless select the records of a group by highest.
	Date        string `yaml:"date,omitempty"`
	UnlessField string `yaml:"unless_field,omitempty"`
	Unless      string `yaml:"unless,omitempty"`
	// None is the code of those of whom nothing is known.
	None string `yaml:"none,omitempty"`
	// Codes stand in their order of display; empty when the contract has a list
	// of the group's name.
	Codes []GroupCode `yaml:"codes,omitempty"`
}

// GroupCode is one code of a group.
type GroupCode struct {
	Code string `yaml:"code"`
	Zh   string `yaml:"zh"`
	En   string `yaml:"en"`
	// From is the least number of years of a band.
	From float64 `yaml:"from,omitempty"`
	// Is lists the values that fall under the code.
	Is []string `yaml:"is,omitempty"`
}

func (c *Catalogue) readGroups(fsys fs.FS, ps *feed.Problems) {
	raw, err := fs.ReadFile(fsys, groupsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	f := &file{name: groupsFile, root: &yaml.Node{}, out: ps}
	if err == nil {
		err = yaml.Unmarshal(raw, f.root)
	}
	if err == nil {
		dec := yaml.NewDecoder(strings.NewReader(string(raw)))
		dec.KnownFields(true)
		err = dec.Decode(&c.groups)
	}
	if err != nil {
		f.yaml(err)
		return
	}
	for i := range c.groups {
		g := &c.groups[i]
		if len(g.Codes) == 0 && c.Contract.List(g.Name) == nil {
			f.at("", "group %q has no codes, and no code list has its name", g.Name)
		}
		if g.Feed != "" && !c.hasField(g.Feed, g.Field) {
			f.at("", "group %q: %s.%s is no current field", g.Name, g.Feed, g.Field)
		}
		if g.None != "" && !slices.Contains(c.groupCodes(g), g.None) {
			f.at("", "group %q: none %q is no code of it", g.Name, g.None)
		}
	}
}

func (c *Catalogue) group(name string) *Group {
	for i := range c.groups {
		if c.groups[i].Name == name {
			return &c.groups[i]
		}
	}
	return nil
}

func (c *Catalogue) groupCodes(g *Group) []string {
	var out []string
	for _, x := range g.Codes {
		out = append(out, x.Code)
	}
	if len(g.Codes) == 0 {
		for _, e := range c.Contract.List(g.Name).Entries {
			out = append(out, e.Code)
		}
	}
	return out
}

// Dimension says whether a name can split an indicator at all.
func (c *Catalogue) dimension(name string) bool {
	return name == "feed" || name == Region || name == OtherUnit || c.group(name) != nil || c.Contract.List(name) != nil
}

// Region and OtherUnit are dimensions whose codes come with the units.
const (
	Region    = "region"
	OtherUnit = "other_unit"
)

// regions are the three parts of the country by which inequality is split.
var regions = []GroupCode{{Code: "east", Zh: "东部", En: "east"}, {Code: "middle", Zh: "中部", En: "middle"}, {Code: "west", Zh: "西部", En: "west"}}

// Label names a code of a dimension, and whether there is such a code.
func (c *Catalogue) Label(dimension, code string) (Text, bool) {
	codes := regions
	switch dimension {
	case "feed":
		if s := c.Contract.Feed(code); s != nil {
			return Text{Zh: s.Zh, En: s.En}, true
		}
		return Text{}, false
	case OtherUnit:
		if u := c.Contract.Unit(code); u != nil {
			return Text{Zh: u.ShortZh, En: u.ShortEn()}, true
		}
		return Text{}, false
	case Region:
	default:
		codes = nil
		if g := c.group(dimension); g != nil {
			codes = g.Codes
		}
	}
	for _, g := range codes {
		if g.Code == code {
			return Text{Zh: g.Zh, En: g.En}, true
		}
	}
	if l := c.Contract.List(dimension); l != nil {
		if e := l.Entry(code); e != nil {
			return Text{Zh: e.Zh, En: e.En}, true
		}
	}
	return Text{}, false
}

// Values lists the codes of a dimension outside any indicator; nil when there is
// no such dimension.
func (c *Catalogue) Values(dimension string) []string {
	switch {
	case dimension == Region:
		return []string{"east", "middle", "west"}
	case c.group(dimension) != nil:
		return c.groupCodes(c.group(dimension))
	}
	l := c.Contract.List(dimension)
	if l == nil {
		return nil
	}
	out := make([]string, 0, len(l.Entries))
	for _, e := range l.Entries {
		out = append(out, e.Code)
	}
	return out
}
