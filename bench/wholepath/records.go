package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

// unit reports all records, unless several units share them.
const unit = "310000"

// today is the worker's clock in the run; every record was reported before it.
var today = time.Date(2016, 11, 30, 20, 0, 0, 0, feed.Shanghai)

// records makes the messages of worker feeds: new ones, corrections (a newer
// reported_at, 5 in 100) and exact duplicates. The units take turns.
type records struct {
	r          *rand.Rand
	units      []string
	of         int // place in units of the record that was made last
	duplicates int
	versions   []uint8 // by record, how often it was corrected
	made       int64
	stored     int64
	sum        int64 // of the newest reported_at in milliseconds
	values     []string
	employers  []string
}

func newRecords(seed uint64, duplicates int, units []string) *records {
	g := &records{r: rand.New(rand.NewPCG(seed, 1)), duplicates: duplicates, units: units}
	for i := 0; len(g.employers) < 3000; i++ {
		if code := creditCode(i); code != "" {
			g.employers = append(g.employers, code)
		}
	}
	return g
}

func reportedAt(id int, version uint8) time.Time {
	return time.Date(2016, 11, 1+int(version)*5, 8, 0, id%3600, 0, feed.Shanghai)
}

// fields are the columns of a record, in the order of its values.
var fields = []string{"schema_version", "reporting_unit", "feed", "batch_id", "record_id", "op", "period", "effective_from", "reported_at",
	"id_number", "name", "mobile", "sex", "birth_date", "ethnic_code", "political_code", "education_code", "major_social_work",
	"worker_category", "position_level", "employer_uscc", "county_code", "entry_on", "is_trainer"}

// Their places in fields.
const reportingUnit, recordID = 1, 4

// next returns the values of the next record, valid until the call after.
func (g *records) next() []string {
	g.made++
	id := len(g.versions)
	switch p := g.r.IntN(100); {
	case id > 0 && p < g.duplicates:
		id = g.r.IntN(id)
	case id > 0 && p < g.duplicates+5:
		if old := g.r.IntN(id); g.versions[old] < 5 {
			g.sum -= reportedAt(old, g.versions[old]).UnixMilli()
			id = old
			g.versions[id]++
			g.sum += reportedAt(id, g.versions[id]).UnixMilli()
			g.stored++
			break
		}
		fallthrough
	default:
		g.versions = append(g.versions, 0)
		g.sum += reportedAt(id, 0).UnixMilli()
		g.stored++
	}
	v := g.versions[id]
	g.of = id % len(g.units)
	unit := g.units[g.of]
	birth := time.Date(1960+id%40, time.Month(1+id%12), 1+id%28, 0, 0, 0, 0, time.UTC)
	number := residentID(birth, id)
	g.values = append(g.values[:0], "1", unit, "worker", fmt.Sprintf("2016-11-%s-%03d", unit, id>>14), fmt.Sprintf("W-%s-%08d", unit, id), "U",
		"2016-11", "2016-11-30", reportedAt(id, v).Format(time.RFC3339),
		number, names[id%len(names)], fmt.Sprintf("138%08d", id%1e8), strconv.Itoa(2-int(number[16]-'0')%2), birth.Format(time.DateOnly),
		"01", []string{"01", "03", "13"}[id%3], []string{"21", "31", "14"}[id%3], strconv.FormatBool(id%3 == 0),
		[]string{"1", "2"}[id%2], []string{"1", "2", "3"}[id/7%3], g.employers[id%len(g.employers)], "310115",
		time.Date(2008+id%8, time.Month(1+id%12), 1+int(v), 0, 0, 0, 0, time.UTC).Format(time.DateOnly), strconv.FormatBool(id%50 == 0))
	return g.values
}

var names = []string{"王伟", "李娜", "张敏", "刘洋", "陈静", "杨丽", "阿依古丽·买买提", "赵军", "黄勇", "周艳"}

// residentID is a number of a reserved area, whose people do not exist.
func residentID(birth time.Time, n int) string {
	b := fmt.Appendf(nil, "%02d9901%s%03d", []int{11, 31, 44, 51}[n/1000%4], birth.Format("20060102"), n%1000)
	sum := 0
	for i, w := range [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += int(b[i]-'0') * w
	}
	return string(append(b, "10X98765432"[sum%11]))
}

// creditCode finds the code of organisation n by trying the check characters.
func creditCode(n int) string {
	const letters = "0123456789ABCDEFGHJKLMNPQRTUWXY"
	for _, a := range letters[:11] + "X" {
		for _, b := range letters {
			code := fmt.Appendf(nil, "52119900MJ%06d%c%c", n, a, b)
			if out, notes, rule := value.CreditCode(nil, code); rule == feed.NoRule && notes == 0 {
				return string(out)
			}
		}
	}
	return ""
}
