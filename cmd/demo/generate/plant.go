package generate

import (
	"bytes"
	"strconv"
	"strings"
)

// What becomes of a record: the names that the pipeline gives.
const (
	isNew      = "new"
	unchanged  = "unchanged"
	correction = "correction"
	superseded = "superseded"
	conflict   = "conflict"
	duplicate  = "duplicate"
	rejected   = "rejected"
)

// class says what planting a kind of mess does.
type class uint8

const (
	// written: the record itself is written in another way and accepted.
	written class = iota
	// broken: a copy that breaks one rule comes first, the proper one after it.
	broken
	// sequence: several versions of the record come.
	sequence
)

// mess is one kind of trouble that real feeds have.
type mess struct {
	kind  string
	class class
	rule  string // broken: the rule it breaks; written: the warning it draws
	feeds []feedID
	// apply changes the record; false means that it cannot be done to this one.
	apply func(*Generator, *rec) bool
	// play sends the versions.
	play func(*Generator, *rec) error
}

var (
	idFeeds     = []feedID{fWorker, fEmployment, fAttendance, fQualification}
	anyFeed     = []feedID{fOrg, fWorker, fEmployment, fPost, fProject, fTraining, fAttendance, fQualification, fEvaluation, fDemoSite, fPolicy, fPay, fContext, fStation, fIDChange}
	bigFeeds    = []feedID{fOrg, fWorker, fEmployment, fPost, fAttendance, fQualification, fContext}
	moneyFeeds  = []feedID{fPost, fProject}
	usccFeeds   = []feedID{fWorker, fEmployment, fPost, fProject, fOrg}
	countyFeeds = []feedID{fWorker, fPost, fOrg}
)

// field finds the position of one of several fields in a feed, -1 when it has none.
func field(f feedID, names ...string) int {
	for _, n := range names {
		for i, have := range allFields[f] {
			if n == have {
				return i
			}
		}
	}
	return -1
}

func (r *rec) field(names ...string) int { return field(r.feed, names...) }

// rewrite replaces a value by another writing of it.
func rewrite(names []string, fn func(string) string) func(*Generator, *rec) bool {
	return func(g *Generator, r *rec) bool {
		i := r.field(names...)
		if i < 0 || r.v[i].kind == absent {
			return false
		}
		old := string(r.get(i))
		now := fn(old)
		if now == "" || now == old {
			return false
		}
		r.str(i, now)
		switch names[0] {
		case "id_number", "name", "mobile":
			g.raw = append(g.raw, now)
		}
		return true
	}
}

// put is rewrite for a value that does not depend on the old one.
func put(now string, names ...string) func(*Generator, *rec) bool {
	return rewrite(names, func(string) string { return now })
}

func fullWidth(s string) string {
	return strings.Map(func(c rune) rune {
		if c > ' ' && c < 0x7f {
			return c + 0xFEE0
		}
		return c
	}, s)
}

var hanDigits = []string{"〇", "一", "二", "三", "四", "五", "六", "七", "八", "九"}

func hanNumber(n int) string { // 1 to 31
	switch {
	case n < 10:
		return hanDigits[n]
	case n == 10:
		return "十"
	case n < 20:
		return "十" + hanDigits[n-10]
	case n%10 == 0:
		return hanDigits[n/10] + "十"
	}
	return hanDigits[n/10] + "十" + hanDigits[n%10]
}

func ymd(s string) (y string, m, d int) {
	m, _ = strconv.Atoi(s[5:7])
	d, _ = strconv.Atoi(s[8:10])
	return s[:4], m, d
}

func hanDate(s string) string {
	y, m, d := ymd(s)
	var b strings.Builder
	for _, c := range y {
		b.WriteString(hanDigits[c-'0'])
	}
	return b.String() + "年" + hanNumber(m) + "月" + hanNumber(d) + "日"
}

func cnDate(s string) string {
	y, m, d := ymd(s)
	return y + "年" + strconv.Itoa(m) + "月" + strconv.Itoa(d) + "日"
}

// upperYuan writes a whole number of yuan below a hundred million in banker's numerals.
func upperYuan(n int64) string {
	if n <= 0 || n >= 1e8 {
		return ""
	}
	digits := []string{"零", "壹", "贰", "叁", "肆", "伍", "陆", "柒", "捌", "玖"}
	four := func(n int64) string {
		var b strings.Builder
		zero := false
		for i, unit := range []string{"仟", "佰", "拾", ""} {
			d := n / []int64{1000, 100, 10, 1}[i] % 10
			if d == 0 {
				zero = b.Len() > 0
				continue
			}
			if zero {
				b.WriteString("零")
				zero = false
			}
			b.WriteString(digits[d] + unit)
		}
		return b.String()
	}
	var out string
	if w := n / 10000; w > 0 {
		out = four(w) + "万"
		if rest := n % 10000; rest > 0 && rest < 1000 {
			out += "零"
		}
	}
	return out + four(n%10000) + "元整"
}

func yuan(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n%100 != 0 {
		return 0
	}
	return n / 100
}

func commas(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

var (
	theID     = []string{"id_number"}
	theDate   = []string{"entry_on", "start_on", "issued_on", "evaluated_on", "opened_on", "founded_on"}
	theMoney  = []string{"amount_fen", "unit_price_fen", "monthly_fen"}
	theUSCC   = []string{"employer_uscc", "provider_uscc", "uscc"}
	openText  = []string{"org_name", "project_name", "title", "site_name", "township_name"}
	dateFeeds = []feedID{fWorker, fEmployment, fProject, fQualification, fTraining, fStation, fOrg}
	textFeeds = []feedID{fOrg, fProject, fTraining, fDemoSite, fStation}
	dayFields = []string{"start_on", "issued_on", "evaluated_on"}
	dayFeeds  = []feedID{fEmployment, fQualification, fTraining, fProject}
)

// withCheck replaces characters of an identity number and mends its check character.
func withCheck(s string, from int, what string) string {
	b := []byte(s)
	if len(b) != 18 {
		return ""
	}
	copy(b[from:], what)
	b[17] = ricCheck(b[:17])
	return string(b)
}

var educationAlias = map[string]string{"21": "本科", "31": "大专", "14": "硕士", "41": "中专", "61": "高中"}
var categoryName = map[string]string{"01": "社会组织聘用的禁毒社会工作者", "03": "政府购买岗位派驻人员"}

func extra(s string) func(*Generator, *rec) bool {
	return func(_ *Generator, r *rec) bool { r.extra = s; return true }
}

func dot(with string) func(*Generator, *rec) bool {
	return rewrite([]string{"name"}, func(s string) string { return strings.Replace(s, "·", with, 1) })
}

func lookalike(x string) func(*Generator, *rec) bool {
	return rewrite(theID, func(s string) string {
		if !strings.HasSuffix(s, "X") {
			return ""
		}
		return s[:17] + x
	})
}

var messes = []mess{
	// Another writing of the same thing.
	{kind: "id_full_width", feeds: idFeeds, apply: rewrite(theID, fullWidth)},
	{kind: "id_lower_x", feeds: idFeeds, apply: lookalike("x")},
	{kind: "id_cyrillic_x", feeds: idFeeds, apply: lookalike("\u0425")},
	{kind: "id_multiplication_sign", feeds: idFeeds, apply: lookalike("\u00d7")},
	{kind: "id_spaces", feeds: idFeeds, apply: rewrite(theID, func(s string) string { return s[:6] + " " + s[6:14] + " " + s[14:] })},
	{kind: "id_apostrophe", feeds: idFeeds, apply: rewrite(theID, func(s string) string { return "'" + s })},
	{kind: "id_fifteen_digits", rule: "ric_fifteen_digits", feeds: idFeeds, apply: rewrite(theID, func(s string) string { return s[:6] + s[8:17] })},
	{kind: "date_chinese_numerals", feeds: dateFeeds, apply: rewrite(theDate, hanDate)},
	{kind: "date_year_month_day", feeds: dateFeeds, apply: rewrite(theDate, cnDate)},
	{kind: "date_slashes", feeds: dateFeeds, apply: rewrite(theDate, func(s string) string { return strings.ReplaceAll(s, "-", "/") })},
	{kind: "date_points", feeds: dateFeeds, apply: rewrite(theDate, func(s string) string { return strings.ReplaceAll(s, "-", ".") })},
	{kind: "date_compact", feeds: dateFeeds, apply: rewrite(theDate, func(s string) string { return strings.ReplaceAll(s, "-", "") })},
	{kind: "date_full_width", feeds: dateFeeds, apply: rewrite(theDate, func(s string) string { return fullWidth(cnDate(s)) })},
	{kind: "date_serial", feeds: dateFeeds, apply: rewrite(theDate, func(s string) string {
		y, m, d := ymd(s)
		n, _ := strconv.Atoi(y)
		return strconv.Itoa(int(dayOf(n, m, d)) + 25569)
	})},
	{kind: "period_chinese", feeds: bigFeeds, apply: rewrite([]string{"period"}, func(s string) string {
		return strings.TrimSuffix(hanDate(s[:4]+"-"+s[4:]+"-01"), "一日")
	})},
	{kind: "money_yuan", feeds: moneyFeeds, apply: rewrite(theMoney, func(s string) string { return commas(yuan(s)) + "元" })},
	{kind: "money_wan", feeds: moneyFeeds, apply: rewrite(theMoney, func(s string) string {
		n := yuan(s)
		if n == 0 || n%1000 != 0 {
			return ""
		}
		return strings.TrimSuffix(strconv.FormatInt(n/10000, 10)+"."+strconv.FormatInt(n%10000/1000, 10), ".0") + "万元"
	})},
	{kind: "money_upper", feeds: moneyFeeds, apply: rewrite(theMoney, func(s string) string { return upperYuan(yuan(s)) })},
	{kind: "money_full_width", feeds: moneyFeeds, apply: rewrite(theMoney, func(s string) string {
		return fullWidth(strconv.FormatInt(yuan(s), 10)) + "元"
	})},
	{kind: "name_dot_bullet", feeds: []feedID{fWorker}, apply: dot("\u2022")},
	{kind: "name_dot_katakana", feeds: []feedID{fWorker}, apply: dot("\u30fb")},
	{kind: "name_dot_full_width", feeds: []feedID{fWorker}, apply: dot("\uff0e")},
	{kind: "name_spaces", feeds: []feedID{fWorker}, apply: rewrite([]string{"name"}, func(s string) string {
		if strings.Contains(s, "·") {
			return ""
		}
		return s[:3] + "\u3000" + s[3:]
	})},
	{kind: "alias_education", feeds: []feedID{fWorker}, apply: rewrite([]string{"education_code"}, func(s string) string { return educationAlias[s] })},
	{kind: "alias_sex", feeds: []feedID{fWorker}, apply: rewrite([]string{"sex"}, func(s string) string {
		return map[string]string{"1": "男", "2": "女"}[s]
	})},
	{kind: "alias_category", feeds: []feedID{fWorker, fEmployment}, apply: rewrite([]string{"worker_category"}, func(s string) string { return categoryName[s] })},
	{kind: "alias_bool", feeds: []feedID{fWorker, fAttendance}, apply: rewrite([]string{"is_trainer", "as_trainer"}, func(s string) string {
		return map[string]string{"true": "是", "false": "否"}[s]
	})},
	{kind: "mobile_prefix", feeds: []feedID{fWorker}, apply: rewrite([]string{"mobile"}, func(s string) string { return "+86 " + s[:3] + "-" + s[3:7] + "-" + s[7:] })},
	{kind: "number_full_width", feeds: []feedID{fOrg, fContext}, apply: rewrite([]string{"staff_total", "township_total"}, fullWidth)},
	// Accepted with a warning.
	{kind: "education_header", class: sequence, rule: "education_header", feeds: []feedID{fWorker}, play: mended("education_header", put("20", "education_code"))},
	{kind: "sex_mismatch", class: sequence, rule: "ric_sex_mismatch", feeds: []feedID{fWorker}, play: mended("ric_sex_mismatch", rewrite([]string{"sex"}, func(s string) string {
		return map[string]string{"1": "2", "2": "1"}[s]
	}))},
	{kind: "birth_mismatch", class: sequence, rule: "ric_birth_mismatch", feeds: []feedID{fWorker}, play: mended("ric_birth_mismatch", put("1957-03-05", "birth_date"))},
	{kind: "org_type_mismatch", rule: "org_type_mismatch", feeds: []feedID{fOrg}, apply: rewrite([]string{"org_type"}, func(s string) string {
		return map[string]string{"51": "52", "52": "51", "53": "52"}[s]
	})},
	{kind: "division_retired", rule: "division_retired", feeds: []feedID{fWorker, fOrg}, apply: func(g *Generator, r *rec) bool {
		old := g.units[r.unit].retired
		if len(old) == 0 || r.month < 0 {
			return false
		}
		r.str(r.field("county_code"), old[r.at%int64(len(old))])
		return true
	}},
	{kind: "reported_at_old", rule: "reported_at_old", feeds: []feedID{fOrg, fAttendance, fContext, fWorker}, apply: func(g *Generator, r *rec) bool {
		g.reported(r, unix(dayOf(2014, 6, 2), 9))
		return true
	}},
	{kind: "corrects_itself", rule: "corrects_itself", feeds: bigFeeds, apply: func(g *Generator, r *rec) bool {
		r.str(eOp, "C")
		r.bytes(eCorrects, bytes.Clone(r.get(eRecord)))
		return true
	}},
	{kind: "uscc_org_check", rule: "uscc_org_checksum", feeds: []feedID{fWorker}, apply: rewrite([]string{"employer_uscc"}, func(s string) string {
		b := []byte(s)
		if b[16]++; b[16] > '9' {
			b[16] = '0'
		}
		b[17] = usccCheck(b[:17])
		return string(b)
	})},

	// One broken rule; the proper record follows.
	{kind: "id_wrong_check", class: broken, rule: "ric_checksum", feeds: idFeeds, apply: rewrite(theID, func(s string) string {
		b := []byte(s)
		if b[17] = '1' + (b[17]-'0'+4)%8; b[17] == s[17] {
			b[17] = '9'
		}
		return string(b)
	})},
	{kind: "id_impossible_birth", class: broken, rule: "ric_birth_date", feeds: idFeeds, apply: rewrite(theID, func(s string) string { return withCheck(s, 10, "0230") })},
	{kind: "id_seventeen", class: broken, rule: "ric_length", feeds: idFeeds, apply: rewrite(theID, func(s string) string { return s[:17] })},
	{kind: "id_letter_o", class: broken, rule: "ric_char", feeds: idFeeds, apply: rewrite(theID, func(s string) string { return s[:10] + "O" + s[11:] })},
	{kind: "id_scientific", class: broken, rule: "ric_precision", feeds: idFeeds, apply: rewrite(theID, func(s string) string { return s[:1] + "." + s[1:6] + "E+17" })},
	{kind: "id_float", class: broken, rule: "ric_precision", feeds: idFeeds, apply: rewrite(theID, func(s string) string {
		b := []byte(s[:15] + "00")
		if ricCheck(b) == '0' {
			return ""
		}
		return string(b) + "0"
	})},
	{kind: "id_future_birth", class: broken, rule: "ric_future", feeds: idFeeds, apply: rewrite(theID, func(s string) string { return withCheck(s, 6, "2092") })},
	{kind: "id_legacy_age", class: broken, rule: "ric_legacy_age", feeds: idFeeds, apply: rewrite(theID, func(s string) string { return s[:6] + s[8:14] + "997" })},
	{kind: "uscc_wrong_check", class: broken, rule: "uscc_checksum", feeds: usccFeeds, apply: rewrite(theUSCC, func(s string) string {
		b := []byte(s)
		if b[17]++; b[17] == '9'+1 || b[17] > 'Y' || strings.IndexByte(usccAlphabet, b[17]) < 0 {
			b[17] = '2'
		}
		return string(b)
	})},
	{kind: "uscc_short", class: broken, rule: "uscc_length", feeds: usccFeeds, apply: rewrite(theUSCC, func(s string) string { return s[:17] })},
	{kind: "uscc_letter_o", class: broken, rule: "uscc_char", feeds: usccFeeds, apply: rewrite(theUSCC, func(s string) string { return s[:11] + "O" + s[12:] })},
	{kind: "unknown_code", class: broken, rule: "code_list", feeds: []feedID{fWorker, fEmployment}, apply: put("77", "worker_category")},
	{kind: "unknown_division", class: broken, rule: "division_unknown", feeds: countyFeeds, apply: func(g *Generator, r *rec) bool {
		r.str(r.field("county_code"), g.units[r.unit].area+"8877")
		return true
	}},
	{kind: "missing_required", class: broken, rule: "required", feeds: []feedID{fWorker, fOrg, fAttendance, fContext}, apply: func(_ *Generator, r *rec) bool {
		r.v[r.field("sex", "org_name", "hours_earned", "registered_users")] = span{}
		return true
	}},
	{kind: "empty_required", class: broken, rule: "required", feeds: []feedID{fWorker, fOrg}, apply: func(_ *Generator, r *rec) bool {
		i := r.field("sex", "org_name")
		r.v[i] = span{int32(len(r.buf)), int32(len(r.buf)), text}
		return true
	}},
	{kind: "date_order", class: broken, rule: "date_order", feeds: []feedID{fEmployment, fProject, fPost, fTraining}, apply: func(_ *Generator, r *rec) bool {
		i := r.field("end_on")
		if r.v[i].kind == absent {
			return false
		}
		r.str(i, "2001-05-04")
		return true
	}},
	{kind: "leave_without_reason", class: broken, rule: "required_with", feeds: []feedID{fEmployment}, apply: func(_ *Generator, r *rec) bool {
		if r.v[r.field("end_on")].kind == absent {
			return false
		}
		r.v[r.field("leave_reason")], r.v[r.field("destination_unit")] = span{}, span{}
		return true
	}},
	{kind: "third_party_without_code", class: broken, rule: "required_with", feeds: []feedID{fEvaluation}, apply: func(_ *Generator, r *rec) bool {
		i := r.field("evaluator_uscc")
		if r.v[i].kind == absent {
			return false
		}
		r.v[i] = span{}
		return true
	}},
	{kind: "evaluates_itself", class: broken, rule: "evaluator_self", feeds: []feedID{fEvaluation}, apply: func(_ *Generator, r *rec) bool {
		i := r.field("evaluator_uscc")
		if r.v[i].kind == absent || string(r.get(r.field("subject_type"))) != "1" {
			return false
		}
		r.bytes(i, bytes.Clone(r.get(r.field("subject_key"))))
		return true
	}},
	{kind: "score_above_range", class: broken, rule: "out_of_range", feeds: []feedID{fEvaluation}, apply: put("120.5", "score")},
	{kind: "number_of_words", class: broken, rule: "type", feeds: []feedID{fOrg}, apply: put("十几个", "staff_total")},
	{kind: "truth_unknown", class: broken, rule: "type", feeds: []feedID{fWorker, fEmployment, fPost}, apply: put("也许", "is_trainer", "social_insurance", "filled")},
	{kind: "money_without_unit", class: broken, rule: "money_unit", feeds: moneyFeeds, apply: put("35.5", theMoney...)},
	{kind: "money_about", class: broken, rule: "money_not_exact", feeds: moneyFeeds, apply: put("约30万元", theMoney...)},
	{kind: "money_by_agreement", class: broken, rule: "money_invalid", feeds: moneyFeeds, apply: put("面议", theMoney...)},
	{kind: "damaged_text", class: broken, rule: "damaged_text", feeds: textFeeds, apply: rewrite(openText, func(s string) string { return s[:3] + "\ufffd" + s[3:] })},
	{kind: "damaged_name", class: broken, rule: "damaged_text", feeds: []feedID{fWorker}, apply: rewrite([]string{"name"}, func(s string) string { return s[:3] + "\ufffd" })},
	{kind: "damaged_gb18030", class: broken, rule: "damaged_text", feeds: append([]feedID{fWorker}, textFeeds...), apply: func(g *Generator, r *rec) bool {
		if g.units[r.unit].form != formGB {
			return false
		}
		i := r.field("name", "org_name", "project_name", "title", "site_name", "township_name")
		r.str(i, string(r.get(i)[:3])+"\x01")
		return true
	}},
	{kind: "identity_in_text", class: broken, rule: "personal_in_open_field", feeds: textFeeds, apply: func(g *Generator, r *rec) bool {
		return rewrite(openText, func(s string) string { return s + "（经办" + g.strangerID(r) + "）" })(g, r)
	}},
	{kind: "mobile_in_text", class: broken, rule: "personal_in_open_field", feeds: textFeeds, apply: func(g *Generator, r *rec) bool {
		return rewrite(openText, func(s string) string { return s + "（电话" + g.strangerMobile(r) + "）" })(g, r)
	}},
	{kind: "identity_as_record_id", class: broken, rule: "personal_in_open_field", feeds: bigFeeds, apply: func(g *Generator, r *rec) bool {
		r.str(eRecord, g.strangerID(r))
		return true
	}},
	{kind: "clock_a_year_ahead", class: broken, rule: "reported_at_future", feeds: bigFeeds, apply: put("2017-11-30T09:00:00+08:00", "reported_at")},
	{kind: "clock_in_1999", class: broken, rule: "reported_at_early", feeds: bigFeeds, apply: put("1999-01-01T00:00:00+08:00", "reported_at")},
	{kind: "clock_without_seconds", class: broken, rule: "reported_at_precision", feeds: bigFeeds, apply: rewrite([]string{"reported_at"}, func(s string) string { return s[:16] })},
	{kind: "schema_version_word", class: broken, rule: "schema_version", feeds: bigFeeds, apply: put("v1", "schema_version")},
	{kind: "date_impossible", class: broken, rule: "date_invalid", feeds: dayFeeds, apply: put("2016-02-30", dayFields...)},
	{kind: "date_ambiguous", class: broken, rule: "date_ambiguous", feeds: dayFeeds, apply: put("11/12/2016", dayFields...)},
	{kind: "date_without_day", class: broken, rule: "date_partial", feeds: []feedID{fEmployment}, apply: put("2016年11月", "start_on")},
	{kind: "mobile_wrong", class: broken, rule: "mobile_invalid", feeds: []feedID{fWorker}, apply: put("12345", "mobile")},
	{kind: "unknown_field", class: broken, rule: "unknown_field", feeds: bigFeeds, apply: extra(`"favourite_colour":"蓝",`)},
	{kind: "forbidden_field", class: broken, rule: "forbidden_field", feeds: []feedID{fWorker, fEmployment}, apply: extra(`"home_address":"某街道某号",`)},
	{kind: "duplicate_key", class: broken, rule: "duplicate_field", feeds: bigFeeds, apply: extra(`"op":"U",`)},
	{kind: "another_units_batch", class: broken, rule: "reporting_unit", feeds: bigFeeds, apply: func(g *Generator, r *rec) bool {
		r.str(eUnit, g.units[(r.unit+5)%len(g.units)].code)
		return true
	}},

	// Several versions of one record.
	{kind: "sent_again", class: sequence, feeds: anyFeed, play: func(g *Generator, r *rec) error {
		return g.versions(r, r.outcome, duplicate, nil)
	}},
	{kind: "prepared_again", class: sequence, feeds: anyFeed, play: func(g *Generator, r *rec) error {
		return g.versions(r, r.outcome, unchanged, func(o *rec) { g.later(o, 2) })
	}},
	{kind: "corrected", class: sequence, feeds: anyFeed, play: func(g *Generator, r *rec) error {
		return g.wrongFirst(r, "U")
	}},
	{kind: "corrected_op_c", class: sequence, feeds: anyFeed, play: func(g *Generator, r *rec) error {
		return g.wrongFirst(r, "C")
	}},
	{kind: "late_older_version", class: sequence, feeds: anyFeed, play: func(g *Generator, r *rec) error {
		return g.versions(r, r.outcome, superseded, func(o *rec) { alter(o, 1); g.later(o, -6) })
	}},
	{kind: "conflict", class: sequence, feeds: anyFeed, play: func(g *Generator, r *rec) error {
		return g.versions(r, r.outcome, conflict, func(o *rec) { alter(o, 1) })
	}},
	{kind: "conflict_sent_again", class: sequence, feeds: bigFeeds, play: func(g *Generator, r *rec) error {
		if err := g.versions(r, r.outcome, conflict, func(o *rec) { alter(o, 1) }); err != nil {
			return err
		}
		return g.send(r, duplicate)
	}},
	{kind: "sent_again_in_other_writing", class: sequence, feeds: bigFeeds, play: func(g *Generator, r *rec) error {
		return g.versions(r, r.outcome, correction, func(o *rec) {
			g.later(o, 4)
			o.str(eFrom, cnDate(string(o.get(eFrom))))
		})
	}},
	{kind: "void", class: sequence, feeds: bigFeeds, play: func(g *Generator, r *rec) error {
		slip := r.copyTo(&g.other)
		slip.str(eRecord, string(slip.get(eRecord))+"X")
		if err := g.send(slip, isNew); err != nil {
			return err
		}
		g.void(slip)
		g.later(slip, 5)
		if err := g.send(slip, correction); err != nil {
			return err
		}
		return g.send(r, r.outcome)
	}},
	{kind: "void_before_its_record", class: sequence, feeds: bigFeeds, play: func(g *Generator, r *rec) error {
		slip := r.copyTo(&g.other)
		slip.str(eRecord, string(slip.get(eRecord))+"Y")
		g.void(slip)
		if err := g.send(slip, isNew); err != nil {
			return err
		}
		slip = r.copyTo(&g.other)
		slip.str(eRecord, string(slip.get(eRecord))+"Y")
		g.later(slip, -2)
		if err := g.send(slip, superseded); err != nil {
			return err
		}
		return g.send(r, r.outcome)
	}},
	{kind: "void_of_the_same_moment_after", class: sequence, feeds: bigFeeds, play: func(g *Generator, r *rec) error {
		return g.versions(r, r.outcome, conflict, func(o *rec) { g.void(o) })
	}},
	{kind: "void_of_the_same_moment_before", class: sequence, feeds: bigFeeds, play: func(g *Generator, r *rec) error {
		o := r.copyTo(&g.other)
		g.void(o)
		if err := g.send(o, r.outcome); err != nil {
			return err
		}
		return g.send(r, conflict)
	}},
	{kind: "void_and_back", class: sequence, feeds: bigFeeds, play: func(g *Generator, r *rec) error {
		if err := g.versions(r, r.outcome, correction, func(o *rec) { g.void(o); g.later(o, 1) }); err != nil {
			return err
		}
		g.later(r, 2)
		return g.send(r, correction)
	}},
	{kind: "corrects_other_record", class: sequence, feeds: bigFeeds, play: func(g *Generator, r *rec) error {
		if r.outcome != isNew {
			return g.send(r, r.outcome)
		}
		wrong := r.copyTo(&g.other)
		g.neighbour(wrong, r)
		id := string(wrong.get(eRecord))
		if err := g.send(wrong, isNew); err != nil {
			return err
		}
		g.later(r, 3)
		r.str(eOp, "C")
		r.str(eCorrects, id)
		g.man.DerivedVoids[feedNames[r.feed]]++
		return g.send(r, r.outcome)
	}},
	{kind: "numbered_twice", class: sequence, feeds: []feedID{fWorker, fEmployment, fAttendance, fQualification}, play: func(g *Generator, r *rec) error {
		if r.keyed || r.outcome != isNew {
			return g.send(r, r.outcome) // what changes later would leave its twin behind
		}
		if err := g.send(r, isNew); err != nil {
			return err
		}
		twin := r.copyTo(&g.other)
		twin.str(eRecord, string(twin.get(eRecord))+"T")
		return g.send(twin, isNew)
	}},
	{kind: "older_version_sent_again", class: sequence, feeds: bigFeeds, play: func(g *Generator, r *rec) error {
		if err := g.wrongFirst(r, "U"); err != nil {
			return err
		}
		o := r.copyTo(&g.other)
		alter(o, 1)
		g.later(o, -3)
		o.str(eBatch, string(r.get(eBatch)))
		return g.send(o, duplicate)
	}},
}

// versions sends the record and then a changed copy of it.
func (g *Generator) versions(r *rec, first, second string, change func(*rec)) error {
	if err := g.send(r, first); err != nil {
		return err
	}
	o := r.copyTo(&g.other)
	if change != nil {
		change(o)
	}
	return g.send(o, second)
}

// mended sends a record that draws a warning and, three hours later, the one that
// heeds it.
func mended(rule string, apply func(*Generator, *rec) bool) func(*Generator, *rec) error {
	return func(g *Generator, r *rec) error {
		o := r.copyTo(&g.other)
		if !apply(g, o) {
			return g.send(r, r.outcome)
		}
		g.count[r.feed].Warnings[rule]++
		if err := g.send(o, r.outcome); err != nil {
			return err
		}
		g.later(r, 3)
		return g.send(r, correction)
	}
}

// wrongFirst sends a slip and three hours later the record.
func (g *Generator) wrongFirst(r *rec, op string) error {
	o := r.copyTo(&g.other)
	alter(o, 1)
	if err := g.send(o, r.outcome); err != nil {
		return err
	}
	g.later(r, 3)
	r.str(eOp, op)
	return g.send(r, correction)
}

// later moves reported_at; another delivery has another batch.
func (g *Generator) later(r *rec, hours int) {
	g.reported(r, r.at+int64(hours)*3600)
	r.str(eBatch, string(r.get(eBatch))+"R"+strconv.Itoa(hours+10))
}

// void empties a record to what a void must say.
func (g *Generator) void(r *rec) {
	r.str(eOp, "V")
	for i := own; i < len(r.v); i++ {
		r.v[i] = span{}
	}
}

// neighbour gives a record a wrong record_id that every usual number of
// partitions sends where the right one goes: what a correction voids must lie
// in its own partition.
func (g *Generator) neighbour(wrong, right *rec) {
	const partitions = 240
	base := string(right.get(eRecord)) + "W"
	want := murmur2(g.key(right)) & 0x7fffffff % partitions
	for i := 0; ; i++ {
		lo := len(wrong.buf)
		wrong.str(eRecord, base+strconv.Itoa(i))
		if murmur2(g.key(wrong))&0x7fffffff%partitions == want {
			return
		}
		wrong.buf = wrong.buf[:lo]
	}
}

// alter changes a value on which no expected figure stands; where every value
// is counted, the date is written in another way.
func alter(r *rec, k byte) {
	digit := func(name string) {
		i := r.field(name)
		r.lit(i, string(r.get(i))+string('0'+k))
	}
	word := func(name string) {
		i := r.field(name)
		r.str(i, string(r.get(i))+"（"+string('0'+k)+"）")
	}
	switch r.feed {
	case fOrg:
		digit("staff_total")
	case fWorker, fPost, fAttendance, fContext, fStation, fIDChange:
		r.str(eFrom, cnDate(string(r.get(eFrom))))
	case fEmployment:
		digit("pay_month_fen")
	case fProject:
		digit("paid_fen")
	case fTraining:
		digit("hours")
	case fQualification:
		word("cert_no")
	case fEvaluation:
		i := r.field("score")
		v := r.get(i)
		r.lit(i, string(v[:len(v)-1])+string('0'+k))
	case fDemoSite:
		word("site_name")
	case fPolicy:
		word("title")
	case fPay:
		digit("monthly_fen")
	}
}

// strangerID is a valid identity number of nobody in the world.
func (g *Generator) strangerID(r *rec) string {
	var p person
	g.strangers++
	g.person(g.units[r.unit%len(g.units)], bogus+g.strangers, &p)
	g.raw = append(g.raw, string(p.id[:]))
	return string(p.id[:])
}

func (g *Generator) strangerMobile(r *rec) string {
	var p person
	g.strangers++
	g.person(g.units[r.unit%len(g.units)], bogus+g.strangers, &p)
	g.raw = append(g.raw, string(p.mobile[:]))
	return string(p.mobile[:])
}
