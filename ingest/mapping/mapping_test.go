package mapping

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
)

var update = flag.Bool("update", false, "write the golden files")

func catalogue(t testing.TB) *feed.Catalogue {
	t.Helper()
	cat, err := feed.Load(feeds.FS)
	require.NoError(t, err)
	return cat
}

// TestBadMappings checks each testdata/NAME.bad.yaml against its exact messages
// in NAME.bad.txt. The messages are for people: read them when you update them.
func TestBadMappings(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	cat := catalogue(t)
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			raw, err := os.ReadFile(f)
			require.NoError(t, err)
			_, err = Load(filepath.Base(f), raw, cat)
			require.Error(t, err)
			for line := range strings.SplitSeq(err.Error(), "\n") {
				require.Regexp(t, `^[a-z]+\.bad\.yaml:[0-9]+: .`, line)
			}
			require.NotContains(t, err.Error(), "138000", "a fault does not repeat a number of a person")
			want := strings.TrimSuffix(f, ".yaml") + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(want, []byte(err.Error()+"\n"), 0o644))
			}
			golden, e := os.ReadFile(want)
			require.NoError(t, e)
			require.Equal(t, string(golden), err.Error()+"\n", "run go test ./ingest/mapping -update")
		})
	}
}

func TestFindsColumns(t *testing.T) {
	cat := catalogue(t)
	raw, err := os.ReadFile("testdata/whole.yaml")
	require.NoError(t, err)
	m, err := Load("whole.yaml", raw, cat)
	require.NoError(t, err)
	require.Equal(t, "purchaser_uscc", m.Find("甲方 代码*", 7).Field)
	require.Equal(t, "project_name", m.Find("名称", 2).Field)
	require.Nil(t, m.Find("名称", 3))
	require.Nil(t, m.Find("备注", 0))
	require.True(t, m.Ignores("备　注"))
	require.False(t, m.Ignores("名称"))
	require.True(t, m.Find("起", 0).Optional)
}

func TestTranslates(t *testing.T) {
	cat := catalogue(t)
	f := func(feedName, field string, codes map[string]string, in, want string, ok bool) {
		t.Helper()
		spec := cat.Feed(feedName)
		c := Column{Codes: codes}
		c.fold()
		got, is := c.Translate(&spec.All()[spec.Index(field)], in)
		require.Equal(t, ok, is)
		require.Equal(t, want, got)
	}
	sex := map[string]string{"０": "2", "1": "1"}
	f("worker", "sex", sex, " 0", "2", true)
	f("worker", "sex", sex, "１", "1", true)
	f("worker", "sex", sex, "2", "", false)
	f("worker", "sex", sex, "", "", false)
	f("worker", "is_trainer", map[string]string{"": "否", "√": "是"}, "", "否", true)
	services := map[string]string{"a": "1", "b": "3"}
	f("org", "service_types", services, "b、 a", "3,1", true)
	f("org", "service_types", services, "b、c", "", false)
}

func TestOrdersOfDates(t *testing.T) {
	f := func(order, in, want string) {
		t.Helper()
		require.Equal(t, want, (&Column{Dates: order}).Date(in))
	}
	f("dmy", "11/12/2016", "2016-12-11")
	f("mdy", "11/12/2016", "2016-11-12")
	f("dmy", "1.2.2016", "2016-02-01")
	f("dmy", " １-2-2016 ", "2016-02-01")
	f("dmy", "11/12/2016 08:30", "2016-12-11T08:30")
	f("dmy", "11122016", "2016-12-11")
	f("", "11/12/2016", "11/12/2016")
	// What does not fit the order stays, and the check says what it is.
	for _, same := range []string{"2016-11-12", "20161112", "11/13/2016", "11/12/16", "1/2", "2016", "十一月", "", "31/31/2016"} {
		f("dmy", same, same)
	}
}

// FuzzLoad reads anything as a mapping: a fault is a problem with a line, never
// a panic, and what loads can be asked.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(f, err)
	for _, name := range files {
		raw, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(raw)
	}
	cat := catalogue(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Load("m.yaml", raw, cat)
		if err != nil {
			return
		}
		for i := range m.Columns {
			c := &m.Columns[i]
			spec := cat.Feed(m.Feed)
			c.Translate(&spec.All()[spec.Index(c.Field)], c.Column)
			c.Date(c.Column)
			m.Find(c.Column, i)
		}
	})
}
