package catalogue

import "slices"

// County splits an indicator of that grain below the province. Its codes are those
// of one unit on one day, so that it is no dimension: it cannot be asked of the
// nation, and nothing of it is published.
const County = "county"

// OtherCounty is where those stand whose county is none of the unit's.
const OtherCounty = "other"

// ByCounty says whether the indicator can be asked by county.
func (in *Indicator) ByCounty() bool { return slices.Contains(in.Grain, County) }

// Counties lists the codes of a unit's counties on a day, and OtherCounty. The
// districts that only hold a city's own districts together are none.
func (c *Catalogue) Counties(unit string, day int32) []string {
	area := unit[:2]
	if unit == "660000" { // the Corps lies in Xinjiang's counties
		area = "65"
	}
	var out []string
	for _, r := range c.Contract.Divisions.Rows {
		if r.Level == "county" && r.Code[:2] == area && r.From <= day && day < r.Until && r.Name != "市辖区" {
			out = append(out, r.Code)
		}
	}
	return append(out, OtherCounty)
}

// CountyLabel names a county; names of counties are not translated.
func (c *Catalogue) CountyLabel(code string, day int32) Text {
	if code == OtherCounty {
		return Text{Zh: "其他与未知", En: "other or unknown"}
	}
	name := c.Contract.Divisions.Name(code, day)
	return Text{Zh: name, En: name}
}

// checkCounty refuses the grain where no statement gives it: hiding small cells
// below the province is proved for counts of persons only.
func (c *Catalogue) checkCounty(in *Indicator, f *file) {
	if in.ByCounty() && (in.Measure.Kind != "count" || in.Measure.Top == nil || in.Measure.Top.Kind != "stock_persons" || in.Measure.Top.Sum != nil) {
		f.at("grain", "only a count of persons in post can be asked by county")
	}
}
