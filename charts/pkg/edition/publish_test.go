package edition_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/indicators"
	"github.com/duiwu/duiwu/charts/internal/chartstest"
	"github.com/duiwu/duiwu/charts/pkg/catalogue"
	"github.com/duiwu/duiwu/charts/pkg/edition"
	"github.com/duiwu/duiwu/charts/pkg/figures"
	"github.com/duiwu/duiwu/internal/peer"
)

var october = time.Date(2016, 10, 31, 0, 0, 0, 0, time.UTC)

// press opens the small nation on 11 November 2016 for publishing.
func press(t *testing.T, name string) (*chartstest.DB, *edition.Press) {
	t.Helper()
	db := chartstest.New(t, name)
	chartstest.Small(t, db)
	tables(t, db)
	db.Exec(t, "INSERT INTO ledger (topic, last_offset) VALUES ('duiwu.feed.310000', 41)")
	c, err := catalogue.Load(indicators.FS, db.Contract)
	require.NoError(t, err)
	c.Indicators = c.Indicators[:2] // all of them are published in the tests of the datasource
	at, err := peer.NewDatabase(db.DSN(), "", peer.TLS{})
	require.NoError(t, err)
	p, err := edition.Open(at, c)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	p.SuppressBelow, p.Software = -1, "test"
	p.Clock = func() time.Time { return time.Date(2016, 11, 11, 20, 0, 0, 0, time.FixedZone("+08:00", 8*3600)) }
	return db, p
}

// nation is the value of the nation in an edition.
func nation(t *testing.T, p *edition.Press, indicator, which string) float64 {
	t.Helper()
	all, err := p.List(t.Context())
	require.NoError(t, err)
	e := edition.Pick(all, october, which)
	require.NotNil(t, e)
	got, err := p.Read(t.Context(), indicator, "", e)
	require.NoError(t, err)
	for _, f := range got {
		if f.Unit == "" {
			return *f.Value
		}
	}
	t.Fatalf("%s has no figure of the nation in %s", indicator, which)
	return 0
}

// TestAMonthFromItsFirstEditionToItsSecond lives through what an office does.
func TestAMonthFromItsFirstEditionToItsSecond(t *testing.T) {
	db, p := press(t, "edition_life")
	ctx := t.Context()

	_, err := p.Next(nil, october.AddDate(0, 0, 30))
	require.ErrorContains(t, err, "2016-11 is not over; publish it from 2016-12-01 on")
	_, err = p.Approve(ctx, october, "Zhao", "checked")
	require.ErrorContains(t, err, "2016-10 is not published")

	// A writer that dies between the figures and the row of publications leaves
	// figures that nobody sees, and a month that is not published.
	d, err := p.Draft(ctx, october, true)
	require.NoError(t, err)
	db.Exec(t, "RENAME TABLE publications TO elsewhere")
	require.Error(t, p.Publish(ctx, d, "Wang", ""))
	db.Exec(t, "RENAME TABLE elsewhere TO publications")
	require.NotEqual(t, "0\n", db.Exec(t, "SELECT count() FROM published_figures"))
	all, err := p.List(ctx)
	require.NoError(t, err)
	require.Empty(t, all)

	require.NoError(t, p.Publish(ctx, d, "Wang", ""))
	first := d
	require.Equal(t, 1, first.Number)
	require.Equal(t, map[string]int64{"duiwu.feed.310000/0/0": 42}, first.Positions)
	require.Equal(t, "test", first.Software)
	require.EqualValues(t, 8, nation(t, p, "I-01", edition.First))
	e := first.Edition
	got, err := p.Read(ctx, "I-01", "worker_category", &e)
	require.NoError(t, err)
	sum := 0.0
	for _, f := range got {
		if f.Unit == "" {
			sum += *f.Value
		}
	}
	require.EqualValues(t, 8, sum, "each figure once, though two attempts wrote it")
	require.Contains(t, e.Missing, figures.Missing{Unit: "110000", Feed: "org", Expected: "2016-10"})

	require.ErrorContains(t, p.Publish(ctx, d, "Li", ""), "2016-10 is published: edition 1, by Wang; to correct it: duiwu publish reopen 2016-10 --by NAME --reason TEXT")
	_, err = p.Approve(ctx, october, "Zhao", " ")
	require.ErrorContains(t, err, "a reason")
	_, err = p.Approve(ctx, october, "Zhao", "checked against the units' totals")
	require.NoError(t, err)
	_, err = p.Approve(ctx, october, "Zhao", "again")
	require.ErrorContains(t, err, "approved already, by Zhao")

	// A late correction: one who had been there in October.
	db.Insert(t, "employment", chartstest.Row{"record_id": "late", "reporting_unit": "310000", "id_number_token": chartstest.Person(77), "employer_uscc": "52119900MJ0000018T",
		"start_on": "2016-05-01", "end_on": nil, "employment_form": "01", "worker_category": "01", "county_code": "310115", "effective_from": "2016-05-01"})
	live, err := p.Draft(ctx, october, false)
	require.NoError(t, err)
	require.EqualValues(t, 9, value(live, "I-01"))
	require.EqualValues(t, 8, nation(t, p, "I-01", edition.Latest), "what is published stays")

	_, err = p.Reopen(ctx, october, "Zhao", "Shanghai sent a late record")
	require.NoError(t, err)
	second := live
	require.NoError(t, p.Publish(ctx, second, "Wang", ""))
	require.Equal(t, 2, second.Number)
	require.EqualValues(t, 8, nation(t, p, "I-01", edition.First))
	require.EqualValues(t, 9, nation(t, p, "I-01", edition.Latest))
	require.EqualValues(t, 8, nation(t, p, "I-01", edition.LastApproved))
	all, err = p.List(ctx)
	require.NoError(t, err)
	require.Len(t, all, 2)
	var told []string
	for _, e := range all {
		for _, ev := range e.Events {
			told = append(told, fmt.Sprint(e.Number, " ", ev.State, " ", ev.Who, ": ", ev.Reason))
		}
	}
	require.Equal(t, []string{"1 published Wang: ", "1 approved Zhao: checked against the units' totals", "1 reopened Zhao: Shanghai sent a late record", "2 published Wang: "}, told)
}

func value(d *edition.Draft, indicator string) float64 {
	for _, r := range d.Results {
		for _, f := range r.Figures {
			if r.Indicator.ID == indicator && r.Dimension == "" && f.Unit == "" {
				return *f.Value
			}
		}
	}
	return -1
}

// TestRecordsThatArriveMeanwhileAreLeftOut moves the ledger while a month is
// computed: then all of it is computed again as of a moment that is past.
func TestRecordsThatArriveMeanwhileAreLeftOut(t *testing.T) {
	db, p := press(t, "edition_moving")
	clock := p.Clock
	moved := false
	p.Clock = func() time.Time {
		if !moved {
			moved = true
			return clock()
		}
		db.Exec(t, "INSERT INTO ledger (topic, last_offset) VALUES ('duiwu.feed.310000', 43)")
		return clock()
	}
	d, err := p.Draft(t.Context(), october, false)
	require.NoError(t, err)
	require.Equal(t, clock().Add(-time.Minute), d.ReadAt)
	require.EqualValues(t, 8, value(d, "I-01"))
}
