package flow

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrNoReceipt says that nothing of a batch has been recorded yet.
var ErrNoReceipt = errors.New("no cut of this batch is in the ledger")

// Status says how much of a batch has arrived.
type Status string

const (
	// Complete: every row that the batch declared has arrived, and no chunk is
	// missing.
	Complete Status = "complete"
	// Partial: fewer rows arrived than declared, or a chunk is missing.
	Partial Status = "partial"
	// Undeclared: the sender did not say how many rows there are.
	Undeclared Status = "undeclared"
)

// ByOutcome counts records by their outcome. Its JSON names all of them.
type ByOutcome [Outcomes]int64

// MarshalJSON implements json.Marshaler.
func (b ByOutcome) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for o, n := range b {
		if o > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, "%q:%d", Outcome(o), n)
	}
	return append(out, '}'), nil
}

// UnmarshalJSON implements json.Unmarshaler. Names of a newer release are passed
// over.
func (b *ByOutcome) UnmarshalJSON(raw []byte) error {
	var m map[string]int64
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	for o := range b {
		b[o] = m[Outcome(o).String()]
	}
	return nil
}

// Receipt says what became of one batch: the sum over the cuts that the ledger
// holds, in records. It has one JSON form, whichever door it is read through:
// the database, the unit's receipt topic, or HTTPS.
type Receipt struct {
	Unit   string `json:"unit"`
	Feed   string `json:"feed"`
	Batch  string `json:"batch_id"`
	Status Status `json:"status"`
	// Declared is the number of rows the sender announced, 0 when it did not.
	Declared int64 `json:"declared"`
	// Received counts records, those of a chunk that came twice as well: the
	// second time they are duplicates.
	Received int64     `json:"received"`
	By       ByOutcome `json:"outcomes"`
	// Rules counts rejected records by the id of their first finding, Warnings
	// every warning of a stored one.
	Rules    map[string]int64 `json:"rules"`
	Warnings map[string]int64 `json:"warnings"`
	// Chunks are the ranges of chunk numbers that arrived, both ends included;
	// Missing those below the largest one that did not.
	Chunks  [][2]int64 `json:"chunks"`
	Missing [][2]int64 `json:"missing"`
	// SHA256 is what the sender says its chunks hash to; SHA256Differs that two
	// different contents came under one batch id.
	SHA256        string    `json:"sha256"`
	SHA256Differs bool      `json:"sha256_differs"`
	First         time.Time `json:"first_arrived_at"`
	Last          time.Time `json:"last_arrived_at"`
	// AsOf is when the newest cut in it was written to the ledger: of two
	// receipts of a batch the one with the later AsOf is the newer.
	AsOf time.Time `json:"as_of"`
	// Rejects lists refused records; beyond a bound they are counted only, in
	// RejectsOmitted.
	Rejects        []RejectedRow `json:"rejects"`
	RejectsOmitted int64         `json:"rejects_omitted"`
}

// Ranges joins ascending chunk numbers to ranges.
func Ranges(chunks []int32) [][2]int64 {
	out := [][2]int64{}
	for _, c := range chunks {
		if n := len(out); n > 0 && out[n-1][1]+1 >= int64(c) {
			out[n-1][1] = int64(c)
			continue
		}
		out = append(out, [2]int64{int64(c), int64(c)})
	}
	return out
}

// RejectedRow is one refused record. Chunk and Row say where the sender put it:
// Chunk is -1 when the message had no number. Row counts from 0 inside the chunk.
type RejectedRow struct {
	Chunk int32 `json:"chunk"`
	Row   int32 `json:"row"`
	// RecordID is empty when it might hold a number of a person.
	RecordID string         `json:"record_id,omitempty"`
	Findings []RejectedRule `json:"findings"`
}

// RejectedRule is one broken rule of a refused record, in one field ("" when it
// is about the record).
type RejectedRule struct {
	Field string `json:"field"`
	Rule  string `json:"rule"`
}

// Key names the receipt among those of its unit: the key of its message.
func (r *Receipt) Key() string { return ReceiptKey(r.Feed, r.Batch) }

// ReceiptKey is the message key of a batch's receipt. A feed's name has no slash.
func ReceiptKey(feedName, batch string) string { return feedName + "/" + batch }

// Rejected says whether anything of the batch was refused.
func (r *Receipt) Rejected() bool { return r.By[Rejected] > 0 }
