package flow

import "errors"

// Known is one version of one record: what dedupe asks the history about.
// RecordID belongs to whoever made the Known. EffectiveFrom is days since
// 1970-01-01 and 0 unless the feed's key has a date (feed.Spec.KeyHasDate).
type Known struct {
	RecordID      []byte
	EffectiveFrom int32
	Version       Version
	// Elsewhere: the partitioner sends the record to another partition, so that it
	// may have been stored since this one was claimed.
	Elsewhere bool
}

// RecordName names a record in all its versions and days.
type RecordName struct{ Unit, Feed, RecordID string }

// ErrFenced is returned by a sink whose assignment was taken over: a newer claim
// on the partition stands. Trying again cannot help and no operator is needed;
// the assignment ends, and whoever holds the newer claim carries on.
var ErrFenced = errors.New("a newer claim on the partition stands")
