package generate

import (
	"math/bits"
	"time"
)

// months is how many months of daily life the world has; the first is December 2015.
const months = 12

// Today is the demo's clock: November's snapshots were due two days ago, and who
// has not sent them is late.
var Today = time.Date(2016, 12, 9, 20, 0, 0, 0, time.FixedZone("+08:00", 8*60*60))

const (
	saltCounty uint64 = iota + 1
	saltOrg
	saltPerson
	saltPlant
	saltPost
	saltProject
	saltEval
	saltSite
	saltPolicy
	saltPay
	saltStation
	saltTime
	saltSnap
	saltExtra
	saltRenew
)

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// h is the world's only source of chance: the same place always falls the same way.
func (g *Generator) h(salt uint64, a, b int) uint64 {
	return mix(mix(mix(g.seed^salt*0x9e3779b97f4a7c15)+uint64(a)*0xd1342543de82ef95) + uint64(b)*0xaf251af3b0f025b5)
}

// dice draws numbers one after another.
type dice uint64

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	return mix(uint64(*d))
}

func (d *dice) n(n int) int {
	hi, _ := bits.Mul64(d.next(), uint64(n))
	return int(hi)
}

func (d *dice) percent(p int) bool { return d.n(100) < p }

func dayOf(y, m, d int) int32 {
	return int32(time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

// spell is one employment.
type spell struct {
	unit       int
	start, end int32 // end 0: open
	reason     string
	dest       string
	county     int
	employer   string
	category   string
	post       int // -1: none
	suffix     byte
}

type attended struct {
	month  int
	day    int32
	passed bool
}

type certificate struct {
	level   byte
	issued  int32
	until   int32
	status  byte
	byMonth int // month in which it is reported; -1 in the first load
}

// person is derived anew each time from the seed, the unit and a number, so
// that the world's size costs no memory.
type person struct {
	unit, n int
	id      [18]byte
	// former is the number that the police changed to id; the month in which that
	// is reported is renewed, 0 when nothing changed.
	former              [18]byte
	renewed             int
	sex                 byte
	birth               int32
	ethnic              string
	name                []byte
	mobile              [11]byte
	education           string
	major, trainer      bool
	position, political string
	entry               int32
	spells              [2]spell // the last of its unit comes first
	nspells             int
	att                 [3]attended
	natt                int
	certs               [2]certificate
	ncerts              int
	nameBuf             [64]byte
}

var surnames = []string{"王", "李", "张", "刘", "陈", "杨", "赵", "周", "吴", "徐", "孙", "胡", "朱", "郭", "马", "罗", "梁", "宋", "郑", "谢", "韩", "唐", "冯", "董", "萧", "曹", "袁", "邓", "傅", "沈", "彭", "吕", "苗", "卢", "蒋", "蔡", "贾", "丁", "魏", "薛", "叶", "阎", "潘", "杜", "戴", "钟", "汪", "姜", "姚", "谭", "廖", "邹", "熊", "郝", "孔", "崔", "毛", "邱", "秦", "顾", "侯", "邵", "孟", "欧阳", "诸葛"}
var given = []string{"伟", "芳", "娜", "敏", "静", "丽", "磊", "军", "洋", "勇", "艳", "杰", "娟", "涛", "超", "霞", "鹏", "婷", "玲", "辉", "雪", "梅", "琳", "燕", "颖", "倩", "慧", "莉", "峰", "斌", "鑫", "楠", "欣", "怡", "佳", "雯", "蕾", "璐", "晨", "浩", "宇", "凯", "旭", "博", "瑞", "萍", "菊", "桂", "兰", "凤", "洁", "翠", "莹", "媛", "瑶", "娇", "岚", "峻", "毅", "龙", "帅", "威", "俊", "健", "振", "亮", "坤", "淼", "䶮"}
var minorityFirst = []string{"阿依古丽", "古丽娜尔", "艾力", "吐尔逊", "热依拉", "帕提曼", "阿布都拉", "卓玛", "扎西", "次仁", "努尔兰", "阿米娜"}
var minorityLast = []string{"买买提", "吐尔地", "依明", "艾山", "卡德尔", "尼亚孜", "巴桑", "多吉", "哈孜", "阿不力孜"}
var educations = []string{"21", "21", "21", "21", "31", "31", "31", "31", "14", "41", "61", "22"}
var reasons = []string{"01", "01", "01", "02", "02", "02", "02", "02", "04", "04", "05", "06", "06", "07", "08", "99"}

const bogus = 30_000 // numbers from here on are persons who never worked: voided slips

// number is the identity number that the records of a spell carry in a month: the
// former one until the change, and for ever in a second unit that never heard of
// it, so that one person is open there and at home under two numbers.
func (p *person) number(s *spell, m int) []byte {
	heard := m >= p.renewed
	if p.nspells == 2 && p.spells[1].end == 0 {
		heard = s == &p.spells[0]
	}
	if p.renewed > 0 && !heard {
		return p.former[:]
	}
	return p.id[:]
}

// renews says in which month, if in any, the police change a person's number:
// of some persons of every unit, and of some of those whom two units report.
func (g *Generator) renews(u *unit, p *person) int {
	if p.nspells == 2 && p.n%4 == 1 || p.n%211 == 6 {
		return 2 + int(g.h(saltRenew, u.index, p.n)%(months-4))
	}
	return 0
}

// misspelt says that the second unit of a person whom two report has another
// name for the number.
func (p *person) misspelt(s *spell) bool {
	return s == &p.spells[1] && s.end == 0 && p.n%3 == 0 && p.renewed == 0
}

// namesake says whether a person has name, sex, year of birth and area of the
// one before: two people whom nobody but a steward can tell from one.
func (u *unit) namesake(n int) bool { return n%331 == 17 && n < u.open }

// persons counts a unit's persons: those with a spell open at the end, leavers
// of the year, part-time staff and volunteers.
func (u *unit) persons() int { return u.open + u.left + u.others }

// person fills p with person n of unit u.
func (g *Generator) person(u *unit, n int, p *person) {
	h := g.h(saltPerson, u.index, n)
	d := dice(h)
	*p = person{unit: u.index, n: n}
	// Who.
	p.birth = dayOf(1958, 1, 1) + int32(d.n(36*365))
	p.sex = '1'
	if d.percent(62) {
		p.sex = '2'
	}
	var double person
	if u.namesake(n) {
		g.person(u, n-1, &double)
		p.birth, p.sex = double.birth, double.sex
	}
	seat := n
	if u.code == "660000" {
		seat += 20_000 // the Corps shares its area with Xinjiang
	}
	identity(&p.id, u.area, seat, g.days[p.birth-dayMin], p.sex)
	p.ethnic = "01"
	name := p.nameBuf[:0]
	minority := 3
	switch u.code {
	case "650000", "540000", "630000", "640000", "660000", "150000":
		minority = 30
	}
	if d.percent(minority) {
		p.ethnic = []string{"05", "04", "03", "02", "17"}[d.n(5)]
		name = append(name, minorityFirst[d.n(len(minorityFirst))]...)
		name = append(name, "·"...)
		name = append(name, minorityLast[d.n(len(minorityLast))]...)
	} else {
		name = append(name, surnames[d.n(len(surnames))]...)
		name = append(name, given[d.n(len(given))]...)
		if d.percent(70) {
			name = append(name, given[d.n(len(given))]...)
		}
	}
	if u.namesake(n) {
		name = append(name[:0], double.name...)
	}
	p.name = name
	p.mobile = [11]byte{'1', '3'}
	for i, x := 2, d.next(); i < 11; i++ {
		p.mobile[i] = '0' + byte(x%10)
		x /= 10
	}
	p.education = educations[d.n(len(educations))]
	p.major = d.percent(28)
	p.trainer = d.percent(4)
	p.position = string([]byte{"1111122334"[d.n(10)]})
	p.political = []string{"01", "01", "03", "13", "13", "13"}[d.n(6)]

	// Where and since when.
	last := months - 1
	if u.late {
		last--
	}
	s := &p.spells[0]
	p.nspells = 1
	*s = spell{unit: u.index, county: d.n(len(u.counties)), post: -1, suffix: 'A'}
	if u.namesake(n) {
		s.county = double.spells[0].county
	}
	r := float64(d.n(1<<20)) / (1 << 20)
	s.start = g.first[0] - 2 - int32(4600*r*r*r)
	joined := -1
	k := n % 100
	switch {
	case n >= u.open+u.left:
		s.category = "04"
		if d.percent(30) {
			s.category = "05"
		}
	case k < u.cat1:
		s.category = "01"
	case k < u.cat1+u.cat3:
		s.category = "03"
		if n < u.open {
			if post := n/100*u.cat3 + k - u.cat1; post < u.posts {
				s.post = post
			}
		}
	default:
		s.category = "02"
	}
	if n < u.open && d.percent(21) {
		joined = d.n(last + 1)
		s.start = g.first[joined] + int32(d.n(26))
	}
	p.entry = s.start
	if s.category == "02" || s.category > "03" {
		s.employer = u.township[s.county]
	} else {
		s.employer = u.orgs[d.n(max(u.stay, 1))].uscc
	}
	other := d.n(len(g.units))
	switch {
	case n < u.open && joined > 0 && d.n(1000) < 40 && other != u.index && !g.units[other].late:
		// Came from another province: that spell closed some days before.
		a := g.units[other]
		p.spells[1] = spell{unit: other, start: g.first[0] - 60 - int32(d.n(1500)), county: d.n(len(a.counties)),
			category: s.category, post: -1, reason: "03", dest: u.code, suffix: 'B'}
		p.spells[1].end = s.start - int32(d.n(18))
		p.nspells = 2
	case n < u.open && joined < 0 && d.n(1000) < 4 && other != u.index:
		// Reported by two provinces at once.
		a := g.units[other]
		start := s.start - 30 - int32(d.n(400))
		if a.index > u.index && d.percent(25) {
			start = s.start
		}
		p.spells[1] = spell{unit: other, start: start, county: d.n(len(a.counties)), category: s.category, post: -1, suffix: 'B'}
		p.nspells = 2
	case n >= u.open && n < u.open+u.left:
		m := d.n(last + 1)
		s.end = g.first[m] + int32(d.n(26))
		if m == 0 {
			s.end = g.first[0] + 11 + int32(d.n(15))
		}
		s.reason = reasons[d.n(len(reasons))]
	}
	if p.nspells == 2 {
		b := &p.spells[1]
		a := g.units[b.unit]
		b.employer = a.orgs[d.n(max(a.stay, 1))].uscc
		p.entry = min(p.entry, b.start)
	}
	s.county %= len(u.counties)
	if p.renewed = g.renews(u, p); p.renewed > 0 {
		identity(&p.former, u.area, seat+45_000, g.days[p.birth-dayMin], p.sex) // seats that nobody has
	}

	// Certificates.
	if d.percent(u.cert) {
		level := byte('1')
		if x := d.n(100); x < 22 {
			level = '2'
		} else if x < 24 {
			level = '3'
		}
		c := certificate{level: level, issued: dayOf(2008, 9, 1) + int32(d.n(2600)), status: "1111111123"[d.n(10)], byMonth: -1}
		if d.n(1000) < 4 {
			c.status = '4'
		}
		if d.percent(10) {
			c.byMonth = 8 + d.n(last-7)
			c.issued, c.status = g.first[c.byMonth]+int32(d.n(25)), '1'
		}
		p.certs[0], p.ncerts = c, 1
		if level == '1' && c.byMonth < 0 && d.percent(6) {
			m := 8 + d.n(last-7)
			p.certs[1], p.ncerts = certificate{level: '2', issued: g.first[m] + int32(d.n(25)), status: '1', byMonth: m}, 2
		}
		for i := range p.ncerts {
			c := &p.certs[i]
			c.until = c.issued + 1095
			if c.status == '1' && c.until < g.last[months-1] {
				c.until = g.last[months-1] + int32(d.n(1000))
			}
		}
	}

	// Training.
	add := func(m int, passed bool) {
		if m > last || p.natt == len(p.att) {
			return
		}
		day := g.first[m] + 3 + int32(g.h(saltTime, u.index, m)%20)
		if s.start < day && (s.end == 0 || s.end > day) {
			p.att[p.natt] = attended{m, day, passed}
			p.natt++
		}
	}
	if s.category <= "03" {
		if d.percent(u.train / 8) {
			add(0, true)
		}
		if d.percent(u.train) {
			m := 1 + d.n(last)
			if joined > 0 {
				m = min(last, joined+1+d.n(2))
			}
			add(m, d.percent(95))
			if second := 1 + d.n(last); d.percent(30) && second != m {
				add(second, d.percent(95))
			}
		}
	}
}

// primary returns the index of the head-count spell that is open on a day and
// began last, at equal start the one of the lower unit code; -1 when none is.
func (p *person) primary(day int32) int {
	best := -1
	for i := range p.nspells {
		s := &p.spells[i]
		if s.category > "03" || s.start > day || s.end != 0 && s.end <= day {
			continue
		}
		if best < 0 || s.start > p.spells[best].start || s.start == p.spells[best].start && s.unit < p.spells[best].unit {
			best = i
		}
	}
	return best
}

var ricWeights = [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}

// ricCheck is GB 11643-1999's check character of 17 digits.
func ricCheck(n []byte) byte {
	sum := 0
	for i, w := range ricWeights {
		sum += int(n[i]-'0') * w
	}
	return "10X98765432"[sum%11]
}

// identity writes a number of the reserved area PP99xx, which was never given to
// any place. Area, sequence and sex are unique to the seat in the unit.
func identity(id *[18]byte, area string, seat int, birth string, sex byte) {
	copy(id[:], area)
	copy(id[2:], "99")
	xx := seat%99 + 1
	id[4], id[5] = '0'+byte(xx/10), '0'+byte(xx%10)
	copy(id[6:], birth[:4])
	copy(id[10:], birth[5:7])
	copy(id[12:], birth[8:])
	seq := seat/99%497*2 + 1
	if sex == '2' {
		seq++
	}
	id[14], id[15], id[16] = '0'+byte(seq/100), '0'+byte(seq/10%10), '0'+byte(seq%10)
	id[17] = ricCheck(id[:17])
}

const usccAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// creditCode is a unified social credit code of GB 32100-2015 with 99 in its
// area part: kind (authority and type), area's two digits, two letters and a serial.
func creditCode(kind, area, letters string, serial int) string {
	var b [18]byte
	copy(b[:], kind)
	copy(b[2:], area)
	copy(b[4:], "9900")
	copy(b[8:], letters)
	for i, n := 15, serial; i >= 10; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
	}
	b[16] = orgCheck(b[8:16])
	b[17] = usccCheck(b[:17])
	return string(b[:])
}

// orgCheck is GB 11714's check character.
func orgCheck(b []byte) byte {
	sum := 0
	for i, w := range [8]int{3, 7, 9, 10, 5, 8, 4, 2} {
		v := int(b[i] - '0')
		if b[i] >= 'A' {
			v = int(b[i]-'A') + 10
		}
		sum += v * w
	}
	return "0X987654321"[sum%11]
}

func usccCheck(b []byte) byte {
	sum, w := 0, 1
	for _, c := range b {
		for v := range usccAlphabet {
			if usccAlphabet[v] == c {
				sum += v * w
			}
		}
		w = w * 3 % 31
	}
	return usccAlphabet[(31-sum%31)%31]
}
