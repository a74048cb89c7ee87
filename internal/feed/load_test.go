package feed_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/feed"
)

var load = sync.OnceValues(func() (*feed.Catalogue, error) { return feed.Load(feeds.FS) })

func catalogue(t testing.TB) *feed.Catalogue {
	t.Helper()
	c, err := load()
	require.NoError(t, err)
	return c
}

func dayOf(t testing.TB, date string) int32 {
	t.Helper()
	d, err := time.Parse(time.DateOnly, date)
	require.NoError(t, err)
	return feed.Day(d)
}

// tables is the contract without its feed files. The divisions are a few lines, and
// so are the holidays, so that a fuzz run spends its time on feed files.
func tables(t testing.TB) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	require.NoError(t, fs.WalkDir(feeds.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".csv") {
			return err
		}
		raw, err := fs.ReadFile(feeds.FS, path)
		out[path] = &fstest.MapFile{Data: raw}
		return err
	}))
	out["divisions.csv"] = &fstest.MapFile{Data: []byte("code,name,level,parent,valid_from,valid_to,successor\n310000,上海市,province,,,,\n")}
	out["holidays.csv"] = &fstest.MapFile{Data: []byte("date,kind,zh,en,source\n2016-10-01,off,国庆节,National Day,test\n")}
	return out
}

// TestBadFeedFiles checks each testdata/NAME.bad.yaml against its exact messages
// in NAME.bad.txt. The messages are for people: read them when you update them.
func TestBadFeedFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".bad.yaml")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(f)
			require.NoError(t, err)
			fsys := tables(t)
			fsys[name+".yaml"] = &fstest.MapFile{Data: raw}
			_, err = feed.Load(fsys)
			require.Error(t, err)
			golden(t, strings.TrimSuffix(f, ".yaml")+".txt", []byte(err.Error()+"\n"))
			for _, line := range strings.Split(err.Error(), "\n") {
				require.Regexp(t, `^[a-z_]+\.yaml:[0-9]+: .`, line)
			}
		})
	}
}

// TestAllFilesAtOnce: faults of several files come together, each with its place.
func TestAllFilesAtOnce(t *testing.T) {
	fsys := tables(t)
	delete(fsys, "targets.csv")
	fsys["codes/sex.csv"] = &fstest.MapFile{Data: []byte("code,zh,en,aliases\n1,男性,male,男|M\n2,女性,female,男\n2,女,woman,\n3,,,\n4,多,many,a,b\n")}
	fsys["units.csv"].Data = append(fsys["units.csv"].Data, "310000,上海,上海,沪,Shanghai,,municipality,north,true,soon,,x,1,1,\n"...)
	fsys["holidays.csv"] = &fstest.MapFile{Data: []byte("date,kind,zh,en,source\n2016-10-01,off,a,a,a\n2016-10-01,rest,a,a,a\n")}
	fsys["divisions.csv"] = &fstest.MapFile{Data: []byte("code,name,level,parent,valid_from,valid_to,successor\n310000,上海市,province,,,,\n119901,测,county,,,,\n31,x,county,,,,\n110000,北京市,state,,,,\n")}
	fsys["b.yaml"] = &fstest.MapFile{Data: []byte("feed: c\n")}
	fsys["a.yaml"] = &fstest.MapFile{Data: []byte("feed: [\n")}
	_, err := feed.Load(fsys)
	require.Error(t, err)
	golden(t, "testdata/all_files.txt", []byte(err.Error()+"\n"))

	_, err = feed.Load(fstest.MapFS{})
	require.ErrorContains(t, err, "there is no feed file")
	require.ErrorContains(t, err, "units.csv: the file is missing")
}

// expectedFields is the domain's list, transcribed by hand: what the national
// office asked for, whatever the feed files say. Upper case stands for required.
var expectedFields = map[string]string{
	"org":           "USCC ORG_NAME ORG_TYPE COUNTY_CODE founded_on STATUS brand_name SERVICE_TYPES staff_total WORKER_TOTAL",
	"worker":        "ID_NUMBER NAME mobile SEX birth_date ethnic_code political_code EDUCATION_CODE major_social_work WORKER_CATEGORY position_level EMPLOYER_USCC COUNTY_CODE entry_on is_trainer",
	"employment":    "ID_NUMBER EMPLOYER_USCC START_ON end_on EMPLOYMENT_FORM WORKER_CATEGORY COUNTY_CODE post_id leave_reason destination_unit social_insurance pay_month_fen",
	"post":          "POST_ID PURCHASER_USCC PROVIDER_USCC BUDGET_YEAR COUNTY_CODE UNIT_PRICE_FEN FUND_SOURCE START_ON end_on FILLED",
	"project":       "PROJECT_ID PURCHASER_USCC PROVIDER_USCC PROJECT_NAME BUDGET_YEAR AMOUNT_FEN paid_fen FUND_SOURCE PROCUREMENT_METHOD SERVICE_TYPES workers_required COUNTY_CODE START_ON END_ON",
	"training":      "SESSION_ID TITLE TIER KIND host_uscc COUNTY_CODE START_ON END_ON HOURS ATTENDEE_TOTAL",
	"attendance":    "SESSION_ID ID_NUMBER HOURS_EARNED passed as_trainer",
	"qualification": "ID_NUMBER CERT_LEVEL cert_no ISSUED_ON CERT_STATUS registered_until",
	"evaluation":    "EVALUATION_ID SUBJECT_TYPE SUBJECT_KEY EVALUATOR_TYPE evaluator_uscc YEAR score GRADE EVALUATED_ON",
	"demo_site":     "SITE_ID SITE_NAME LEVEL STATUS COUNTY_CODE operator_uscc named_on reviewed_on",
	"policy_doc":    "DOC_NO TITLE TOPICS DIMENSION DIVISION_CODE ISSUED_ON repealed_on",
	"pay_standard":  "DIVISION_CODE CERT_LEVEL MONTHLY_FEN ADJUST_RULE",
	"context":       "DIVISION_CODE REGISTERED_USERS IN_COMMUNITY_REHAB population county_total township_total",
	// Optional as a feed; a station without number, county and township says nothing.
	"station": "STATION_ID COUNTY_CODE TOWNSHIP_NAME opened_on",
	// Joins the tokens of one person; the domain's notes name the event only.
	"id_change": "OLD_ID_NUMBER NEW_ID_NUMBER CHANGED_ON CHANGE_REASON",
}

func TestEveryFieldOfTheDomain(t *testing.T) {
	c := catalogue(t)
	require.Len(t, c.Feeds, len(expectedFields))
	for name, want := range expectedFields {
		s := c.Feed(name)
		require.NotNil(t, s, name)
		var got []string
		for i := range s.Fields {
			f := &s.Fields[i]
			if f.Required {
				got = append(got, strings.ToUpper(f.Name))
			} else {
				got = append(got, f.Name)
			}
			require.Equal(t, i+feed.EnvelopeLen, s.Index(f.Name))
		}
		require.Equal(t, want, strings.Join(got, " "), name)
	}
	var envelope []string
	for i := range feed.Envelope {
		envelope = append(envelope, feed.Envelope[i].Name)
	}
	require.Equal(t, "schema_version reporting_unit feed batch_id record_id op corrects period effective_from reported_at", strings.Join(envelope, " "))
	require.Nil(t, c.Feed("nothing"))
	for heading, want := range map[string]bool{
		"home_address": true, "Home Address": true, "homeaddress": true, "家庭住址": true, "家庭 住址": true,
		"bank_account": true, "银行账号": true, "photo": true, "health": true, "drug_history": true, "biometric": true,
		"name": false, "county_code": false, "姓名": false,
	} {
		require.Equal(t, want, c.IsForbidden(heading), heading)
	}
}

// TestPersonalColumns: no column that dashboards read holds a name or a
// telephone number, and no direct identifier keeps its own name.
func TestPersonalColumns(t *testing.T) {
	for _, s := range catalogue(t).Feeds {
		for _, col := range s.Columns() {
			if col.Field < 0 {
				continue
			}
			f := &s.All()[col.Field]
			switch f.Kind.Kind {
			case feed.PersonName, feed.Mobile, feed.Secret:
				require.False(t, col.Current, "%s.%s", s.Feed, col.Name)
			case feed.ResidentID:
				require.True(t, col.Current, "%s.%s", s.Feed, col.Name)
				require.Equal(t, f.Name+"_token", col.Name)
			}
		}
	}
}

// sizes is how many codes each list has; the standards' lists are complete.
var sizes = map[string]int{
	"sex": 4, "ethnic": 58, "political": 13, "education": 40,
	"worker_category": 5, "employment_form": 6, "cert_level": 4, "cert_status": 4, "purchase_mode": 3,
	"fund_source": 7, "id_change_reason": 4, "procurement_method": 7, "org_type": 9, "org_status": 3, "service_type": 4,
	"training_tier": 4, "training_kind": 5, "evaluation_subject": 4, "evaluator_type": 4, "evaluation_grade": 4,
	"demo_level": 4, "demo_status": 4, "leave_reason": 10, "position_level": 4, "record_op": 3,
	"dimension": 3, "privacy": 5, "policy_topic": 6, "pay_band": 5,
}

func TestCodeLists(t *testing.T) {
	c := catalogue(t)
	got := map[string]int{}
	for name, l := range c.Lists {
		got[name] = len(l.Entries)
		for i, e := range l.Entries {
			for _, text := range append([]string{e.Code, e.Zh, e.En}, e.Aliases...) {
				code, ok := l.Lookup([]byte(text))
				require.True(t, ok, "%s: %s", name, text)
				require.Equal(t, e.Code, code, "%s: %s", name, text)
			}
			at, ok := l.Index(e.Code)
			require.True(t, ok)
			require.Equal(t, i, at)
		}
	}
	require.Equal(t, sizes, got)

	f := func(list, raw, want string) {
		t.Helper()
		code, ok := c.List(list).Lookup([]byte(raw))
		require.Equal(t, want != "", ok, "%s: %s", list, raw)
		require.Equal(t, want, code, "%s: %s", list, raw)
	}
	f("sex", "男", "1")
	f("sex", "f", "2")
	f("education", "本科", "21")
	f("education", "大专", "31")
	f("education", "72", "")
	f("ethnic", "维族", "05")
	f("ethnic", "5", "05")
	f("political", "党员", "01")
	f("political", "群众", "13")
	f("org_type", "民非", "52")
	f("record_op", "U", "U")
	f("sex", "x", "")
	require.True(t, c.List("education").EducationHeader("20"))
	require.False(t, c.List("education").EducationHeader("21"))
	l, raw := c.List("education"), []byte("本科")
	require.Zero(t, testing.AllocsPerRun(100, func() { l.Lookup(raw) }))
	require.Nil(t, c.List("sex").Entry("7"))
}

func TestUnits(t *testing.T) {
	c := catalogue(t)
	require.Len(t, c.Units, 36)
	regions, reports, tiles := map[string]int{}, 0, map[[2]int]string{}
	var population int64
	for i := range c.Units {
		u := &c.Units[i]
		regions[u.Region]++
		if u.ReportsOn(dayOf(t, "2016-11-30")) {
			reports++
			population += u.Population2020
		}
		if u.TileRow > 0 {
			at := [2]int{u.TileRow, u.TileCol}
			require.Empty(t, tiles[at], u.Code)
			tiles[at] = u.Code
		}
	}
	require.Equal(t, map[string]int{"east": 11, "middle": 8, "west": 13, "": 4}, regions)
	require.Equal(t, 32, reports)
	require.Len(t, tiles, 35)
	require.Equal(t, "660000", tiles[[2]int{3, 1}])
	require.EqualValues(t, 1409778724, population)
	require.True(t, c.Unit("000000").National())
	require.Nil(t, c.Unit("990000"))
	for raw, want := range map[string]string{"310000": "310000", "上海": "310000", "沪": "310000", "黔": "520000", "陕西": "610000", "山西省": "140000", "兵团": "660000", "": "", "Shanxi": "", "319900": ""} {
		code, ok := c.LookupUnit([]byte(raw))
		require.Equal(t, want != "", ok, raw)
		require.Equal(t, want, code, raw)
	}
	require.Len(t, c.Targets, 11)
	require.False(t, c.Targets[0].Verified())
}

func TestCalendar(t *testing.T) {
	c := catalogue(t)
	f := func(name, period, want string) {
		t.Helper()
		due, err := c.Calendar.Due(c.Feed(name), dayOf(t, period))
		require.NoError(t, err)
		require.Equal(t, want, due.Format("2006-01-02 15:04 -07:00"), "%s %s", name, period)
	}
	// November 2016 ends on a Wednesday; 1, 2, 5, 6, 7 December are worked, and
	// a due time is the midnight that ends the last day.
	f("worker", "2016-11-30", "2016-12-08 00:00 +08:00")
	f("worker", "2016-11-01", "2016-12-08 00:00 +08:00")
	// 8 and 9 October 2016, a weekend, are make-up days: 8, 9, 10, 11, 12.
	f("worker", "2016-09-30", "2016-10-13 00:00 +08:00")
	f("employment", "2016-11-11", "2016-11-14 08:00 +08:00")
	f("employment", "2016-09-30", "2016-10-08 08:00 +08:00")
	f("evaluation", "2016-12-31", "2017-01-11 00:00 +08:00")
	f("evaluation", "2016-09-15", "2016-10-11 00:00 +08:00")
	// 31 January 2017 lies in the Spring Festival; 3 February is worked.
	f("policy_doc", "2016-05-01", "2017-02-04 00:00 +08:00")
	f("training", "2016-11-11", "2016-11-17 00:00 +08:00")
	f("training", "2016-09-28", "2016-10-09 00:00 +08:00")

	_, err := c.Calendar.Due(c.Feed("worker"), dayOf(t, "2031-05-01"))
	require.ErrorContains(t, err, "2031")
	_, err = c.Calendar.Due(c.Feed("worker"), dayOf(t, "2026-12-01"))
	require.ErrorContains(t, err, "2027")
	require.Equal(t, []int{2004, 2026}, []int{c.Calendar.Years()[0], c.Calendar.Years()[len(c.Calendar.Years())-1]})
	require.Len(t, c.Calendar.Years(), 23)
	for day, want := range map[string]bool{"2016-10-08": true, "2016-10-07": false, "2016-11-11": true, "2016-11-12": false, "2015-09-03": false, "2017-02-04": true} {
		got, err := c.Calendar.WorkingDay(dayOf(t, day))
		require.NoError(t, err)
		require.Equal(t, want, got, day)
	}
}

func TestRules(t *testing.T) {
	snake := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	placeholder := regexp.MustCompile(`\{[^}]*\}|%[a-z]`)
	seen := map[string]bool{}
	for _, r := range feed.Rules() {
		i := r.Info()
		require.Regexp(t, snake, i.ID)
		require.False(t, seen[i.ID], i.ID)
		seen[i.ID] = true
		require.NotEmpty(t, i.Zh, i.ID)
		require.NotEmpty(t, i.En, i.ID)
		// A message names the field and the rule, never the value.
		for _, m := range append(placeholder.FindAllString(i.Zh, -1), placeholder.FindAllString(i.En, -1)...) {
			require.Equal(t, "{field}", m, i.ID)
		}
		require.Equal(t, strings.Contains(i.Zh, "{field}"), strings.Contains(i.En, "{field}"), i.ID)
		require.Equal(t, i.ID, r.String())
	}
	for _, id := range feed.CheckRules() {
		require.True(t, seen[id], id)
	}
}

func TestKinds(t *testing.T) {
	for _, k := range feed.Kinds() {
		i := k.Info()
		require.NotEmpty(t, i.Name)
		require.NotZero(t, i.Store, i.Name)
		for _, s := range []string{i.ClickHouse, i.Optional, i.JSON, i.Doc, i.Example} {
			require.NotEmpty(t, s, i.Name)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.bad.yaml", "../../ingest/feeds/*.yaml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		for _, name := range files {
			raw, err := os.ReadFile(name)
			require.NoError(f, err)
			f.Add(raw)
		}
	}
	base := tables(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		fsys := fstest.MapFS{"org.yaml": &fstest.MapFile{Data: raw}}
		for name, file := range base {
			fsys[name] = file
		}
		c, err := feed.Load(fsys)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		// What loads can be turned into everything that is derived from it.
		for _, s := range c.Feeds {
			c.JSONSchema(s)
			c.Page(s)
			s.Columns()
		}
		c.Dictionary()
	})
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := feed.Load(feeds.FS); err != nil {
			b.Fatal(err)
		}
	}
}
