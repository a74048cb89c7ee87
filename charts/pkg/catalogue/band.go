package catalogue

import "time"

// band is the code of a group of ranges that holds a number.
func (k *compiler) band(g *Group, x string) string {
	codes, from := make([]string, 0, len(g.Codes)), make([]float64, 0, len(g.Codes))
	for _, c := range g.Codes {
		codes, from = append(codes, c.Code), append(from, c.From)
	}
	return "arrayElement(" + k.list("bands", codes) + ", greatest(1, arrayLastIndex(f -> f <= " + x + ", " + k.param("band_from", "Array(Float64)", numbers(from)) + ")))"
}

// code is the split's code of a record whose field stands in column x.
func (k *compiler) code(x string) string {
	g := k.c.group(k.split)
	if g == nil || g.By != "range" {
		return "toString(" + x + ")"
	}
	band := k.band(g, "toFloat64(ifNull("+x+", 0))")
	if g.None == "" {
		return band
	}
	return "if(isNull(" + x + "), " + k.text("none", g.None) + ", " + band + ")"
}

// moves are the persons whose primary unit was another one some months before,
// under the unit where they are now.
func (k *compiler) moves(l *Leaf) string {
	at := k.param("stock_at", "Array(Array(UInt32))", positions(k.stockDays(func(d time.Time) []time.Time {
		back := monthsBack(d, l.Months+1)
		return []time.Time{d, back[l.Months]}
	})))
	cat := "''"
	if k.split == OtherUnit {
		cat = digits("then", 6)
	}
	return k.onGrid("SELECT d, "+digits("now", 6)+" AS unit, "+cat+" AS cat, toFloat64(count()) AS v, count() AS source\nFROM (\n  SELECT d, places[i[1]] AS now, places[i[2]] AS then\n  FROM (\n"+
		indent(indent(k.places()))+"\n  )\n  ARRAY JOIN {dates:Array(Date32)} AS d, "+at+" AS i\n  WHERE now != 0 AND then != 0 AND now != then\n)\nGROUP BY d, unit, cat", "employment")
}
