package value

// The proleptic Gregorian calendar in whole days, without package time: the
// loops that call it know no clock and no zone.

var monthDays = [13]int{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// civil says that a date exists.
func civil(year, month, day int) bool {
	if month < 1 || month > 12 || day < 1 {
		return false
	}
	return day <= monthDays[month] ||
		month == 2 && day == 29 && year%4 == 0 && (year%100 != 0 || year%400 == 0)
}

// daysOf counts days since 1970-01-01 of a date that exists, from year 0 on. Years begin
// in March here, so that the leap day is a year's last.
func daysOf(year, month, day int) int32 {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	if year < 0 {
		era = -1
	}
	ofEra := year - era*400
	ofYear := (153*(month-3)+2)/5 + day - 1
	return int32(era*146097 + ofEra*365 + ofEra/4 - ofEra/100 + ofYear - 719468)
}
