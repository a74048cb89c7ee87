package figures

import (
	"time"

	"github.com/duiwu/duiwu/internal/feed"
)

// Missing is a unit whose last expected month of a feed has not arrived.
type Missing struct {
	Unit     string `json:"unit"`
	Feed     string `json:"feed"`
	Expected string `json:"expected"`
	// Last is the newest month that did arrive; empty when none ever did.
	Last string `json:"last"`
}

// Expected is the last month of a feed that is due by a moment: the newest one
// whose last day's due time has passed.
func Expected(contract *feed.Catalogue, s *feed.Spec, now time.Time) time.Time {
	local := now.In(feed.Shanghai)
	m := time.Date(local.Year(), local.Month(), 1, 0, 0, 0, 0, time.UTC)
	for range 15 {
		last := m.AddDate(0, 1, -1)
		if due, err := contract.Calendar.Due(s, feed.Day(last)); err == nil && !due.After(now) {
			return m
		} else if err != nil && !last.AddDate(0, 0, 10).After(local) {
			// The year's holidays are not in the contract; ten days cover any rhythm
			// but the yearly one.
			return m
		}
		m = m.AddDate(0, -1, 0)
	}
	return m
}
