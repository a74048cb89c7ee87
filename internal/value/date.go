package value

import (
	"github.com/duiwu/duiwu/internal/feed"
)

// Precision says how much of a date was written.
type Precision uint8

const (
	// Day: year, month and day.
	Day Precision = iota
	// Month: year and month; the day is the month's first.
	Month
	// Year: the year; the day is its first.
	Year
)

func (p Precision) String() string {
	switch p {
	case Month:
		return "month"
	case Year:
		return "year"
	}
	return "day"
}

// The years that a stored date can hold (Date32 of ClickHouse would silently
// move any other to its own end).
const (
	earliestYear = 1900
	latestYear   = 2299
)

const (
	milliDay  = 24 * 60 * 60 * 1000
	milliZone = 8 * 60 * 60 * 1000 // China Standard Time
)

// Date reads a date (GB/T 7408, ISO 8601, and what spreadsheets write) as days
// since 1970-01-01. A month or a year comes as its first day with its precision.
//
// Accepted: 2016-11-11, 2016/11/11, 2016.11.11, 20161111, 2016年11月11日, full
// width, 二〇一六年十一月十一日 with any zero that is met; 2016-11, 2016.11, 201611,
// 2016年11月; 2016年; a spreadsheet's serial of the 1900 system from 61 on; a date
// with a time, of which the day counts, in China Standard Time when an offset is
// written.
//
// Rules: DateAmbiguous for 11/12/2016, 16.11.11, 2016111 or a bare 2016, which is
// a year and a serial; OutOfRange outside 1900 to 2299; otherwise DateInvalid.
func Date(src []byte) (days int32, p Precision, rule feed.Rule) {
	if len(src) == 10 && src[4] == '-' && src[7] == '-' && digits(src[:4]) && digits(src[5:7]) && digits(src[8:]) {
		return dayOf(int(num4(src)), int(num2(src[5:])), int(num2(src[8:])))
	}
	if len(src) == 8 && digits(src) {
		return dayOf(int(num4(src)), int(num2(src[4:])), int(num2(src[6:])))
	}
	m, rule := readMoment(src)
	if rule != feed.NoRule {
		return 0, 0, rule
	}
	return m.day(), m.precision, feed.NoRule
}

func dayOf(year, month, day int) (int32, Precision, feed.Rule) {
	if !civil(year, month, day) {
		return 0, 0, feed.DateInvalid
	}
	if year < earliestYear || year > latestYear {
		return 0, 0, feed.OutOfRange
	}
	return daysOf(year, month, day), Day, feed.NoRule
}

func digits(b []byte) bool {
	for _, c := range b {
		if c-'0' > 9 {
			return false
		}
	}
	return true
}

// YearMonth reads a month (201611, 2016-11, 2016年11月, 二〇一六年十一月) as the
// month's first day with precision Month, or a whole date as its day with
// precision Day. A year alone is feed.DateInvalid; otherwise the rules of Date.
func YearMonth(src []byte) (days int32, p Precision, rule feed.Rule) {
	if len(src) == 6 && digits(src) {
		days, _, rule = dayOf(int(num4(src)), int(num2(src[4:])), 1)
		return days, Month, rule
	}
	days, p, rule = Date(src)
	if rule == feed.NoRule && p == Year {
		return 0, 0, feed.DateInvalid
	}
	return days, p, rule
}

// DateTime reads a moment as milliseconds since 1970-01-01 UTC. Accepted: a full
// date as Date reads it, then T or white space, then 22:42:31 or 22时42分31秒,
// perhaps a fraction of a second, perhaps Z or an offset; 20161111224231;
// a spreadsheet's serial with a fraction. Without an offset it is China Standard
// Time, +08:00. No leap seconds.
//
// When the seconds are not written the rule is ReportedAtPrecision and second is
// false; unixMilli still holds the minute's or the day's beginning, for fields
// that care less. Otherwise the rules of Date.
func DateTime(src []byte) (unixMilli int64, second bool, rule feed.Rule) {
	if milli, ok := plainDateTime(src); ok {
		return milli, true, feed.NoRule
	}
	m, rule := readMoment(src)
	if rule != feed.NoRule {
		return 0, false, rule
	}
	if m.precision != Day {
		return 0, false, feed.ReportedAtPrecision
	}
	milli := m.unixMilli()
	if !m.second {
		return milli, false, feed.ReportedAtPrecision
	}
	return milli, true, feed.NoRule
}

// plainDateTime is the fast path: 2016-11-11T22:42:31 with nothing, Z or ±hh:mm after it.
func plainDateTime(b []byte) (int64, bool) {
	if len(b) < 19 || b[4] != '-' || b[7] != '-' || b[10] != 'T' && b[10] != ' ' || b[13] != ':' || b[16] != ':' ||
		!digits(b[:4]) || !digits(b[5:7]) || !digits(b[8:10]) || !digits(b[11:13]) || !digits(b[14:16]) || !digits(b[17:19]) {
		return 0, false
	}
	days, _, rule := dayOf(int(num4(b)), int(num2(b[5:])), int(num2(b[8:])))
	h, m, s := num2(b[11:]), num2(b[14:]), num2(b[17:])
	if rule != feed.NoRule || h > 23 || m > 59 || s > 59 {
		return 0, false
	}
	milli := int64(days)*milliDay + int64(h*3600+m*60+s)*1000
	switch rest := b[19:]; {
	case len(rest) == 0:
		return milli - milliZone, true
	case len(rest) == 1 && rest[0] == 'Z':
		return milli, true
	case len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':' && digits(rest[1:3]) && digits(rest[4:6]):
		h, m := num2(rest[1:]), num2(rest[4:])
		if h > 14 || m > 59 {
			return 0, false
		}
		offset := int64(h*60+m) * 60_000
		if rest[0] == '-' {
			offset = -offset
		}
		return milli - offset, true
	}
	return 0, false
}

// Serial turns the day number of a spreadsheet into days since 1970-01-01.
// In the 1900 system serial 60 is a day that never was (1900-02-29), so serials
// below 61 are feed.DateInvalid; in the 1904 system, which holds only when the
// file declares it, 0 is 1904-01-01.
func Serial(serial int64, date1904 bool) (days int32, rule feed.Rule) {
	if serial < 0 || !date1904 && serial < 61 {
		return 0, feed.DateInvalid
	}
	epoch := int64(-25569) // 1899-12-30
	if date1904 {
		epoch = -24107
	}
	if serial > 200_000 || serial+epoch > int64(daysOf(latestYear, 12, 31)) {
		return 0, feed.OutOfRange
	}
	return int32(serial + epoch), feed.NoRule
}

// moment is what a text says of a time.
type moment struct {
	days      int32
	precision Precision
	clock     int64 // milliseconds since midnight
	timed     bool  // a time was written
	second    bool  // with its seconds
	zoned     bool  // with an offset
	offset    int64 // milliseconds east of UTC
}

func (m *moment) unixMilli() int64 {
	offset := int64(milliZone)
	if m.zoned {
		offset = m.offset
	}
	return int64(m.days)*milliDay + m.clock - offset
}

func (m *moment) day() int32 {
	if !m.zoned {
		return m.days
	}
	local := m.unixMilli() + milliZone
	d := local / milliDay
	if local%milliDay < 0 {
		d--
	}
	return int32(d)
}

// The text of a moment becomes cells, one byte each: ASCII digits and
// marks stay, Chinese numerals and marks become the bytes below.
const (
	cellZero   = 0x80 // to 0x89: 〇 to 九
	cellTen    = 0x8A
	cellTwenty = 0x8B
	cellThirty = 0x8C
	cellOh     = 'o' // the letter O, a zero among Chinese numerals only
	cellYear   = 'y'
	cellMonth  = 'n'
	cellDay    = 'd'
	cellHour   = 'h'
	cellMinute = 'p'
	cellSecond = 's'
)

func dateCell(r rune) byte {
	switch r {
	case '年':
		return cellYear
	case '月':
		return cellMonth
	case '日', '号', '號':
		return cellDay
	case '时', '時', '点':
		return cellHour
	case '分':
		return cellMinute
	case '秒':
		return cellSecond
	case '〇', '零', '○', '◯':
		return cellZero
	case '一', '壹':
		return cellZero + 1
	case '二', '贰', '貳':
		return cellZero + 2
	case '三', '叁', '參':
		return cellZero + 3
	case '四', '肆':
		return cellZero + 4
	case '五', '伍':
		return cellZero + 5
	case '六', '陆', '陸':
		return cellZero + 6
	case '七', '柒':
		return cellZero + 7
	case '八', '捌':
		return cellZero + 8
	case '九', '玖':
		return cellZero + 9
	case '十', '拾':
		return cellTen
	case '廿':
		return cellTwenty
	case '卅':
		return cellThirty
	case 'O', 'o':
		return cellOh
	case 'T', 't':
		return 'T'
	case 'Z', 'z':
		return 'Z'
	case '-', '/', '.', ':', '+':
		return byte(r)
	}
	if r >= '0' && r <= '9' {
		return byte(r)
	}
	return 0
}

type dateReader struct {
	cells [48]byte
	n, i  int
}

func (d *dateReader) fill(src []byte) bool {
	src = trim(src)
	for i := 0; i < len(src); {
		r, w, ok := next(src, i)
		i += w
		if !ok || d.n == len(d.cells) {
			return false
		}
		r = fold(r)
		if invisible(r) {
			continue
		}
		c := byte(' ')
		if space(r) {
			if d.n > 0 && d.cells[d.n-1] == ' ' {
				continue
			}
		} else if c = dateCell(r); c == 0 {
			return false
		} else if (c == cellYear || c == cellMonth || c == cellDay) && d.n > 0 && d.cells[d.n-1] == ' ' {
			d.n-- // 2016 年
		}
		d.cells[d.n] = c
		d.n++
	}
	return d.n > 0
}

// peek returns the cell ahead, 0 at the end.
func (d *dateReader) peek() byte {
	if d.i < d.n {
		return d.cells[d.i]
	}
	return 0
}

func (d *dateReader) take(c byte) bool {
	if d.peek() != c {
		return false
	}
	d.i++
	return true
}

// number reads a number in ASCII or Chinese numerals: its value and how many
// digits it has, with width 0 when there is none. Chinese counting (十一) has width 2.
func (d *dateReader) number() (v, width int) {
	start := d.i
	for d.peek()-'0' <= 9 {
		v = v*10 + int(d.peek()-'0')
		d.i++
		if d.i-start > 9 {
			return 0, 0
		}
	}
	if d.i > start {
		return v, d.i - start
	}
	tens := 0 // cells of counting met
	for {
		switch c := d.peek(); {
		case c >= cellZero && c <= cellZero+9, c == cellOh:
			digit := int(c - cellZero)
			if c == cellOh {
				digit = 0
			}
			if tens > 0 {
				// One digit after the ten, and no zero.
				if digit == 0 || v%10 != 0 || tens > 1 {
					return 0, 0
				}
				v += digit
				tens++
			} else {
				v = v*10 + digit
			}
		case c == cellTen && tens == 0 && d.i-start <= 1:
			if d.i > start && v == 0 {
				return 0, 0
			}
			if d.i == start {
				v = 1
			}
			v *= 10
			tens++
		case (c == cellTwenty || c == cellThirty) && d.i == start:
			v = 20
			if c == cellThirty {
				v = 30
			}
			tens++
		default:
			width = d.i - start
			if tens > 0 {
				width = 2
			} else if width == 1 && d.cells[start] == cellOh {
				return 0, 0
			}
			return v, width
		}
		d.i++
		if d.i-start > 9 {
			return 0, 0
		}
	}
}

func readMoment(src []byte) (m moment, rule feed.Rule) {
	var d dateReader
	if !d.fill(src) {
		return m, feed.DateInvalid
	}
	if d.n >= 14 && digits(d.cells[:14]) {
		return d.compact()
	}
	ascii := d.cells[0]-'0' <= 9
	a, wa := d.number()
	if wa == 0 {
		return m, feed.DateInvalid
	}
	var year, month, day int
	switch sep := d.peek(); {
	case ascii && wa >= 5 && (sep == 0 || sep == '.' && wa == 5):
		if wa <= 5 {
			return d.serial(a)
		}
		switch wa {
		case 6:
			year, month, m.precision = a/100, a%100, Month
		case 7:
			return m, feed.DateAmbiguous
		case 8:
			year, month, day = a/10000, a/100%100, a%100
		default:
			return m, feed.DateInvalid
		}
	case ascii && wa <= 4 && sep == 0:
		if wa == 4 && a >= earliestYear && a <= 2099 {
			return m, feed.DateAmbiguous
		}
		return d.serial(a)
	case ascii && wa == 8:
		year, month, day = a/10000, a/100%100, a%100
	case ascii && (sep == '-' || sep == '/' || sep == '.'):
		d.i++
		b, wb := d.number()
		if wb == 0 || wb > 2 && wa > 2 || wa == 3 {
			return m, feed.DateInvalid
		}
		c, wc := 0, 0
		if d.take(sep) {
			if c, wc = d.number(); wc == 0 {
				return m, feed.DateInvalid
			}
		}
		switch {
		case wa == 4 && wb <= 2 && wc <= 2:
			year, month, day = a, b, c
			if wc == 0 {
				m.precision = Month
			}
		case wa <= 2 && wb <= 2 && wc <= 4 && wc != 3:
			return m, feed.DateAmbiguous
		default:
			return m, feed.DateInvalid
		}
	case sep == cellYear:
		d.i++
		if wa == 2 {
			return m, feed.DateAmbiguous
		}
		if wa != 4 {
			return m, feed.DateInvalid
		}
		year, m.precision = a, Year
		d.take(' ')
		if b, wb := d.number(); wb > 0 {
			if wb > 2 || !d.take(cellMonth) {
				return m, feed.DateInvalid
			}
			month, m.precision = b, Month
			d.take(' ')
			if c, wc := d.number(); wc > 0 {
				if wc > 2 || !d.take(cellDay) {
					return m, feed.DateInvalid
				}
				day, m.precision = c, Day
			}
		}
	default:
		return m, feed.DateInvalid
	}
	switch m.precision {
	case Month:
		day = 1
	case Year:
		month, day = 1, 1
	}
	precision := m.precision
	if m.days, _, rule = dayOf(year, month, day); rule != feed.NoRule {
		return m, rule
	}
	m.precision = precision
	if d.i == d.n {
		return m, feed.NoRule
	}
	if precision != Day || !d.time(&m) || d.i != d.n {
		return m, feed.DateInvalid
	}
	return m, feed.NoRule
}

// compact reads 20161111224231.
func (d *dateReader) compact() (m moment, rule feed.Rule) {
	c := d.cells[:]
	days, _, rule := dayOf(int(num4(c)), int(num2(c[4:])), int(num2(c[6:])))
	if rule != feed.NoRule {
		return m, rule
	}
	m.days = days
	d.i = 14
	if !m.setClock(int(num2(c[8:])), int(num2(c[10:])), int(num2(c[12:])), true) || !d.zone(&m) || d.i != d.n {
		return m, feed.DateInvalid
	}
	return m, feed.NoRule
}

// serial reads a spreadsheet's day number, of which the whole days are read
// already; a fraction is the time of day, rounded to the second.
func (d *dateReader) serial(whole int) (m moment, rule feed.Rule) {
	if d.cells[0] == '0' {
		return m, feed.DateInvalid
	}
	if m.days, rule = Serial(int64(whole), false); rule != feed.NoRule || d.i == d.n {
		return m, rule
	}
	d.i++ // the point
	if d.i == d.n || d.n-d.i > 16 || !digits(d.cells[d.i:d.n]) {
		return m, feed.DateInvalid
	}
	// Eleven places hold a microsecond, and their product fits an int64.
	var fraction int64
	for k := 0; k < 11; k++ {
		fraction *= 10
		if d.i < d.n {
			fraction += int64(d.cells[d.i] - '0')
			d.i++
		}
	}
	const one = 100_000_000_000
	seconds := (fraction*86400 + one/2) / one
	if seconds == 86400 {
		seconds = 86399
	}
	m.clock, m.timed, m.second = seconds*1000, true, true
	return m, feed.NoRule
}

func (m *moment) setClock(h, min, s int, second bool) bool {
	if h > 23 || min > 59 || s > 59 {
		return false
	}
	m.clock, m.timed, m.second = int64(h*3600+min*60+s)*1000, true, second
	return true
}

// time reads the time of day and the offset after a date.
func (d *dateReader) time(m *moment) bool {
	d.take(' ')
	if d.take('T') {
		d.take(' ')
	}
	h, w := d.number()
	if w == 0 || w > 2 {
		return false
	}
	if d.take(cellHour) {
		min, w := d.number()
		if w == 0 {
			return d.i == d.n && m.setClock(h, 0, 0, false)
		}
		if w > 2 || !d.take(cellMinute) {
			return false
		}
		s, w := d.number()
		if w == 0 {
			return m.setClock(h, min, 0, false)
		}
		return w <= 2 && d.take(cellSecond) && m.setClock(h, min, s, true)
	}
	if !d.take(':') {
		return false
	}
	min, w := d.number()
	if w != 2 {
		return false
	}
	if !d.take(':') {
		return m.setClock(h, min, 0, false) && d.zone(m)
	}
	s, w := d.number()
	if w != 2 || !m.setClock(h, min, s, true) {
		return false
	}
	if d.take('.') {
		scale := int64(100)
		start := d.i
		for d.peek()-'0' <= 9 {
			m.clock += int64(d.peek()-'0') * scale
			scale /= 10
			d.i++
		}
		if d.i == start {
			return false
		}
	}
	return d.zone(m)
}

func (d *dateReader) zone(m *moment) bool {
	d.take(' ')
	if d.i == d.n {
		return true
	}
	m.zoned = true
	if d.take('Z') {
		return true
	}
	sign := int64(60_000)
	if d.take('-') {
		sign = -sign
	} else if !d.take('+') {
		return false
	}
	h, w := d.number()
	min := 0
	switch w {
	case 2:
		if d.take(':') {
			if min, w = d.number(); w != 2 {
				return false
			}
		}
	case 4:
		h, min = h/100, h%100
	default:
		return false
	}
	if h > 14 || min > 59 {
		return false
	}
	m.offset = int64(h*60+min) * sign
	return true
}
