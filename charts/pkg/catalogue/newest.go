package catalogue

import (
	"fmt"
	"slices"
	"strings"
)

// Of several rows about one thing one counts. argMax finds it five times faster by
// a number than by a tuple, and by a column at a time rather than by a tuple of
// them, so what rows are ordered by is packed into one wide integer: a version is
// below 2^107 (its high half holds milliseconds, below 2^43 until the year 2248), a
// unit's code is below 2^20 and a day, counted from before 1900, below 2^18.
const (
	byVersion = "toUInt256(_version)"
	// byUnit prefers the lower code.
	byUnit      = "bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107)"
	byEffective = "bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127)"
	// byOwn prefers a purchaser's own unit.
	byOwn = "bitShiftLeft(toUInt256(" + own + "), 145)"
	own   = "substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)"

	// stateOrder is the newest state of a thing, and of two of one day the newer
	// version: a day and a version fit into 128 bits.
	stateOrder = "bitOr(bitShiftLeft(toUInt128(toInt32(effective_from) + 40000), 107), _version)"
)

// order packs what rows are ordered by, the first being the most important.
func order(by ...string) string {
	out := by[len(by)-1]
	for _, b := range slices.Backward(by[:len(by)-1]) {
		out = "bitOr(" + b + ", " + out + ")"
	}
	return out
}

// hashed is a key of several columns as two hashes, 128 bits in all: grouping by them
// takes a third of the time that grouping by texts takes.
func hashed(key []string) string {
	if len(key) == 1 {
		return key[0]
	}
	all := strings.Join(key, ", ")
	return "xxh3(" + all + "), cityHash64(" + all + ")"
}

// typeOf is the type of a feed's column.
func (k *compiler) typeOf(feedName, column string) string {
	for _, c := range k.c.Contract.Feed(feedName).Columns() {
		if c.Name == column {
			return c.ClickHouse
		}
	}
	return ""
}

// nullable says whether a column may hold NULL, which argMax passes over.
func (k *compiler) nullable(feedName, column string) bool {
	return strings.Contains(k.typeOf(feedName, column), "Nullable(")
}

// truth says whether a field is true or false.
func (k *compiler) truth(feedName, field string) bool {
	return strings.Contains(k.typeOf(feedName, k.columnOf(feedName, field)), "Bool")
}

// latest is a column's value in the row of the largest _order.
func (k *compiler) latest(feedName, column string) string {
	if !k.nullable(feedName, column) {
		return "argMax(" + column + ", _order)"
	}
	return "if(argMax(isNull(" + column + "), _order), NULL, argMax(assumeNotNull(" + column + "), _order))"
}

// latestByDay is latest for each day of the parameter dates, an array as long as
// they are: NULL, or the type's default, before the first row. Rows are put in the
// bucket of the first day that sees them, and what a bucket lacks is that of the one
// before.
func (k *compiler) latestByDay(feedName, column string) string {
	resample := func(f, args string) string {
		return fmt.Sprintf("%sResample(1, %d, 1)(%s, _bucket)", f, len(k.q.Dates)+1, args)
	}
	filled := func(x string) string {
		return "arrayFill((x, o) -> o != 0, " + resample("argMax", x+", _order") + ", " + resample("max", "_order") + ")"
	}
	if !k.nullable(feedName, column) {
		return filled(column)
	}
	return "arrayMap((known, x) -> if(known = 1, x, NULL), " + filled("isNotNull("+column+")") + ", " + filled("assumeNotNull("+column+")") + ")"
}

// bucket is the place of the first of the days that is not before a row's, counted
// from 1. The days are numbers below zero, newest first, because roundDown looks
// for the nearest one below.
func (k *compiler) bucket() string {
	var back []float64
	for _, d := range slices.Backward(k.q.Dates) {
		back = append(back, float64(-d.Unix()/86400))
	}
	days := k.param("days_back", "Array(Int32)", numbers(back))
	return fmt.Sprintf("toUInt32(%d - indexOf(%s, roundDown(-toInt32(effective_from), %s)))", len(back)+1, days, days)
}
