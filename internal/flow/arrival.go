package flow

import "time"

// DueDay is a day about which a unit reports: the span of the calendar that it
// belongs to, named by its first day, and when its records are due. A zero Due
// is not known.
type DueDay struct {
	Day, Span int32
	Due       time.Time
}

// Arrival says what has come about one span of a calendar.
type Arrival struct {
	Span int32 // first day of the span, since 1970-01-01
	// Records counts record keys, Late those of them whose first version came
	// after it was due.
	Records, Late int64
	First, Last   time.Time
}
