package catalogue

import (
	"fmt"
	"slices"
	"strings"
	"time"
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
	// version: a day and a version fit into so many bits.
	stateOrder = "bitOr(bitShiftLeft(toUInt128(toInt32(effective_from) + 40000), 107), _version)"
	stateBits  = 125
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

// bucket is the place of the first of some days that is not before a date, counted from
// 1, and one more where all are. The days are numbers below zero, newest first, because
// roundDown looks for the nearest one below.
func (k *compiler) bucket(date string, days []time.Time) string {
	const never = 1_000_000 // days from 1970
	back, place := []float64{-never}, []float64{float64(len(days) + 1)}
	for i, d := range slices.Backward(days) {
		if i == 0 || !d.Equal(days[i-1]) {
			back, place = append(back, float64(-d.Unix()/86400)), append(place, float64(i+1))
		}
	}
	bounds := k.param("days_back", "Array(Int32)", numbers(back))
	return "transform(roundDown(-toInt32(" + date + "), " + bounds + "), " + bounds + ", " + k.param("days_at", "Array(UInt32)", numbers(place)) + ", toUInt32(0))"
}

// daily is what applies on each of the days of states that are numbers, of which the
// largest does; 0 before the first.
func (k *compiler) daily(state string) string {
	if k.one {
		return "[max(" + state + ")]"
	}
	// States are put in the bucket of the first day that sees them; a bucket without
	// one has that of the bucket before.
	return fmt.Sprintf("arrayFill(x -> x != 0, maxResample(1, %d, 1)(%s, %s))", len(k.q.Dates)+1, state, k.bucket("effective_from", k.q.Dates))
}

// left are the days up to which records had left a window by each of the days; nil when
// none ever does.
func (k *compiler) left(window string) []time.Time {
	months, some := windowMonths(window)
	out := make([]time.Time, len(k.q.Dates))
	for i, d := range k.q.Dates {
		switch {
		case some:
			// The same day of that month, or its last one.
			last := time.Date(d.Year(), d.Month()-time.Month(months)+1, 0, 0, 0, 0, 0, time.UTC)
			out[i] = last.AddDate(0, 0, min(0, d.Day()-last.Day()))
		case window == "year_to_date":
			out[i] = time.Date(d.Year(), 1, 0, 0, 0, 0, 0, time.UTC)
		case window == "month_to_date":
			out[i] = time.Date(d.Year(), d.Month(), 0, 0, 0, 0, 0, time.UTC)
		default:
			return nil
		}
	}
	return out
}
