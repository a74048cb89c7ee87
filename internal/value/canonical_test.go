package value_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

func TestCanonical(t *testing.T) {
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	f := func(feedName, field, in, want string, rule feed.Rule) {
		t.Helper()
		spec := cat.Feed(feedName)
		out, got := value.Canonical([]byte("x"), []byte(in), &spec.All()[spec.Index(field)], cat, 17000)
		require.Equal(t, rule.String(), got.String())
		require.Equal(t, "x"+want, string(out))
	}
	f("worker", "id_number", "119901800115301", "119901198001153013", feed.NoRule)
	f("worker", "id_number", "119901198001153014", "", feed.RICChecksum)
	f("worker", "sex", "男", "1", feed.NoRule)
	f("worker", "sex", "x", "", feed.CodeList)
	f("worker", "county_code", "３１０１１５", "310115", feed.NoRule)
	f("worker", "county_code", "319999", "", feed.DivisionUnknown)
	f("worker", "birth_date", "1980年1月15日", "3666", feed.NoRule)
	f("worker", "birth_date", "1980-01", "", feed.DatePartial)
	f("worker", "entry_on", "1980-01", "3652", feed.NoRule)
	f("worker", "is_trainer", "是", "true", feed.NoRule)
	f("org", "service_types", "3、1,3", "1,3", feed.NoRule)
	f("org", "service_types", "3、x", "", feed.CodeList)
	f("project", "amount_fen", "1.2万元", "1200000", feed.NoRule)
	f("project", "amount_fen", "1.2万", "", feed.MoneyUnit)
	f("employment", "destination_unit", "上海", "310000", feed.NoRule)
	f("evaluation", "subject_key", "P-1", "P-1", feed.NoRule)
	f("evaluation", "score", "7.5", "75", feed.NoRule)
	f("worker", "period", "2016年11月", "17106", feed.NoRule)
	f("worker", "reported_at", "2016-11-11", "", feed.ReportedAtPrecision)
}
