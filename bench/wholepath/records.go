package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

const unit = "310000"

// today is the worker's clock in the run; every record was reported before it.
var today = time.Date(2016, 11, 30, 20, 0, 0, 0, feed.Shanghai)

// records makes the messages of one unit's worker feed: new ones, corrections
// (a newer reported_at, 5 in 100) and exact duplicates.
type records struct {
	r          *rand.Rand
	duplicates int
	versions   []uint8 // by record, how often it was corrected
	made       int64
	stored     int64
	sum        int64 // of the newest reported_at in milliseconds
	buf        []byte
	employers  []string
}

func newRecords(seed uint64, duplicates int) *records {
	g := &records{r: rand.New(rand.NewPCG(seed, 1)), duplicates: duplicates}
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

// next returns the record_id and the value of the next message; the value is
// valid until the call after.
func (g *records) next() (string, []byte) {
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
	birth := time.Date(1960+id%40, time.Month(1+id%12), 1+id%28, 0, 0, 0, 0, time.UTC)
	number := residentID(birth, id)
	name := fmt.Sprintf("W-310000-%08d", id)
	g.buf = fmt.Appendf(g.buf[:0], `{"schema_version":"1","reporting_unit":"310000","feed":"worker","batch_id":"2016-11-310000-%03d","record_id":"%s","op":"U","period":"2016-11","effective_from":"2016-11-30","reported_at":"%s","id_number":"%s","name":"%s","mobile":"138%08d","sex":"%d","birth_date":"%s","ethnic_code":"01","political_code":"%s","education_code":"%s","major_social_work":"%t","worker_category":"%s","position_level":"%s","employer_uscc":"%s","county_code":"310115","entry_on":"%s","is_trainer":"%t"}`,
		id>>14, name, reportedAt(id, v).Format(time.RFC3339), number, names[id%len(names)], id%1e8,
		2-int(number[16]-'0')%2, birth.Format(time.DateOnly), []string{"01", "03", "13"}[id%3], []string{"21", "31", "14"}[id%3],
		id%3 == 0, []string{"1", "2"}[id%2], []string{"1", "2", "3"}[id/7%3], g.employers[id%len(g.employers)],
		time.Date(2008+id%8, time.Month(1+id%12), 1+int(v), 0, 0, 0, 0, time.UTC).Format(time.DateOnly), id%50 == 0)
	return name, g.buf
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
