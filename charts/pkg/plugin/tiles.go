package plugin

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/data"

	"github.com/duiwu/duiwu/charts/pkg/figures"
)

// formatTiles gives the picture of the nation without a boundary: a table of
// seven columns and nine rows with a tile for each of the 34 units, and one for
// the Corps. A cell is the unit's one-character name and its figure; the field's
// mappings give each its colour, so that Grafana's own table can draw it. Beside
// the seven columns c1 to c7 stand the units' codes in u1 to u7, for links.
const formatTiles = "tiles"

// tileColours go from the least to the most, from pale to strong, as on a printed
// map: that is read the same way on a dark wall and on a light page. They are told
// apart by lightness alone.
var tileColours = []string{"#d5dde6", "#a9c6e3", "#6ea6d9", "#2a72b5", "#0d4f96"}

const (
	tileOutside = "#5b6472" // does not report
	tileNone    = "#3a4250" // has no value
	lateMark    = "◷"       // the last month has not come
)

// tile is what stands in one of them.
type tile struct {
	value *float64
	text  string
	late  bool
}

// tiles lays the units out. It names no column: the picture is read whole.
func (d *Datasource) tiles(name, lang string, of map[string]tile) *data.Frame {
	var values []float64
	for _, t := range of {
		if t.value != nil {
			values = append(values, *t.value)
		}
	}
	sort.Float64s(values)
	cells, codes := map[[2]int]string{}, map[[2]int]string{}
	// A cell without a unit says and is nothing: left to itself, Grafana would
	// write its word for a missing value on the colour of the lowest threshold.
	mappings := data.ValueMapper{"": {Text: " ", Color: "transparent"}}
	rows, columns := 0, 0
	for i := range d.catalogue.Contract.Units {
		u := &d.catalogue.Contract.Units[i]
		if u.TileRow == 0 {
			continue
		}
		t, reports := of[u.Code]
		if !reports && u.Code == corps {
			continue // has no place among the 34
		}
		rows, columns = max(rows, u.TileRow), max(columns, u.TileCol)
		mark := u.Abbr
		if strings.HasPrefix(lang, "en") {
			if _, mark, _ = strings.Cut(u.ISO, "-"); mark == "" {
				mark = "XP" // the Corps has no code of its own
			}
		}
		text, colour := mark, tileOutside
		if reports {
			text = mark + " " + t.text
			if colour = tileNone; t.value != nil {
				colour = tileColours[class(values, *t.value)]
			}
			if t.late {
				text += lateMark
			}
			codes[[2]int{u.TileRow, u.TileCol}] = u.Code
		}
		cells[[2]int{u.TileRow, u.TileCol}] = text
		mappings[text] = data.ValueMappingResult{Color: colour, Index: len(mappings)}
	}
	f := data.NewFrame(name)
	column := func(c int, of map[[2]int]string) []string {
		out := make([]string, rows)
		for r := range out {
			out[r] = of[[2]int{r + 1, c}]
		}
		return out
	}
	for c := 1; c <= columns; c++ {
		// No title from here: Grafana would look for its overrides under that.
		x := data.NewField(fmt.Sprint("c", c), nil, column(c, cells))
		x.Config = &data.FieldConfig{Mappings: data.ValueMappings{mappings}}
		f.Fields = append(f.Fields, x)
	}
	for c := 1; c <= columns; c++ {
		f.Fields = append(f.Fields, data.NewField(fmt.Sprint("u", c), nil, column(c, codes)))
	}
	f.Meta = &data.FrameMeta{Type: data.FrameTypeTable, TypeVersion: data.FrameTypeVersion{0, 1}}
	return f
}

const corps = "660000"

// class is the fifth of the sorted values in which one lies.
func class(sorted []float64, v float64) int {
	at := sort.SearchFloat64s(sorted, v)
	return min(len(tileColours)-1, at*len(tileColours)/len(sorted))
}

// short writes a figure for a tile: three digits or so.
func short(v float64, decimals int, percent bool, lang string) string {
	switch {
	case percent:
		return fmt.Sprintf("%.0f%%", v)
	case math.Abs(v) >= 10_000 && strings.HasPrefix(lang, "en"):
		return fmt.Sprintf("%.0fk", v/1_000)
	case math.Abs(v) >= 1_000 && strings.HasPrefix(lang, "en"): // two letters leave room for three digits
		return fmt.Sprintf("%.1fk", v/1_000)
	case math.Abs(v) >= 10_000:
		return trim(math.Round(v/1_000)/10) + "万"
	case math.Abs(v) >= 100:
		decimals = 0
	}
	return fmt.Sprintf("%.*f", min(decimals, 1), v)
}

// tilesOf makes the tiles of an indicator by province.
func (d *Datasource) tilesOf(p *plan, f *data.Frame) *data.Frame {
	of := map[string]tile{}
	figure := p.column(f)
	_, format, _ := p.in.Of("", "")
	state := func(unit string) string {
		return f.Meta.Custom.(*Provenance).States[p.asOf.Format(time.DateOnly)+"|"+unit+"|"]
	}
	for _, l := range p.long(f) {
		v := figure.At(l.at).(*float64)
		t := tile{value: v, text: "—", late: state(l.unit) == figures.Late}
		if v != nil {
			t.text = short(*v, format.Decimals, format.Kind == "percent", p.Lang)
		} else if state(l.unit) == figures.Suppressed && format.Kind == "integer" {
			t.text = fmt.Sprintf("<%d", d.config.SuppressBelow)
		}
		of[l.unit] = t
	}
	return d.tiles(p.in.ID, p.Lang, of)
}

// tilesOfList makes the tiles of a list that has a unit and a number a row.
func (d *Datasource) tilesOfList(l *List, rows [][]any, lang string) *data.Frame {
	of := map[string]tile{}
	for _, r := range rows {
		v := r[1].(float64)
		of[r[0].(string)] = tile{value: &v, text: short(v, 0, false, lang)}
	}
	return d.tiles(l.ID, lang, of)
}
