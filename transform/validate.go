package transform

import (
	"slices"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/value"
)

// validate compares the fields of each record as the feed's checks say. A check
// says nothing about a value that is absent or was already refused, and nothing
// about voids.
func (s *sheet) validate(cols []arrow.Array) {
	for i := range s.spec.Checks {
		c := &s.spec.Checks[i]
		check, ok := checks[c.Rule]
		if !ok {
			panic("BUG: feed " + s.spec.Feed + " names check " + c.Rule + " that no room knows")
		}
		args := make([]arg, len(c.Fields))
		for j, name := range c.Fields {
			args[j] = s.arg(cols, name)
		}
		when := func(int) bool { return true }
		if c.When != nil {
			w := s.arg(cols, c.When.Field)
			when = func(row int) bool { return slices.Contains(c.When.Is, w.text(row)) }
		}
		for row := range s.n {
			if s.void[row] || !when(row) {
				continue
			}
			if field, rule := check(args, row); rule != feed.NoRule && !s.blamed(row, args) {
				if rule.Severity() == feed.Warning {
					s.warned(row, rule)
				} else {
					s.find(row, args[field].field, rule)
				}
			}
		}
	}
}

// blamed says whether one of the arguments already broke a rule of its own: the
// place of its value holds zero, which must not be compared.
func (s *sheet) blamed(row int, args []arg) bool {
	for _, f := range s.found[int32(row)] {
		for _, a := range args {
			if s.plan[a.field].field.Name == f.Field {
				return true
			}
		}
	}
	return false
}

// arg is one argument of a check: a field and its typed column.
type arg struct {
	sheet *sheet
	field int
	col   arrow.Array
}

func (s *sheet) arg(cols []arrow.Array, name string) arg {
	i := s.spec.Index(name)
	return arg{sheet: s, field: i, col: cols[s.plan[i].out]}
}

func (a arg) present(row int) bool { return len(a.sheet.text(a.field, row)) > 0 }

func (a arg) text(row int) string {
	if c, ok := a.col.(*array.String); ok {
		return c.Value(row)
	}
	return ""
}

func (a arg) day(row int) int32 { return int32(a.col.(*array.Date32).Value(row)) }

// checks holds the rules between fields by id. Each returns the position of the
// argument to blame and the rule that is broken.
var checks = map[string]func(a []arg, row int) (int, feed.Rule){
	// date_order a b: a lies on or before b.
	"date_order": func(a []arg, row int) (int, feed.Rule) {
		if a[0].present(row) && a[1].present(row) && a[0].day(row) > a[1].day(row) {
			return 1, feed.DateOrder
		}
		return 0, feed.NoRule
	},
	// required_with a b: a must stand when b does.
	"required_with": func(a []arg, row int) (int, feed.Rule) {
		if !a[0].present(row) && a[1].present(row) {
			return 0, feed.RequiredWith
		}
		return 0, feed.NoRule
	},
	// ric_sex_mismatch sex id: position 17 of the number is odd for men.
	"ric_sex_mismatch": func(a []arg, row int) (int, feed.Rule) {
		sex, id := a[0].text(row), a[1].text(row)
		if (sex == "1" || sex == "2") && len(id) == 18 && value.Sex(bytesOf(id)) != sex[0] {
			return 0, feed.RICSexMismatch
		}
		return 0, feed.NoRule
	},
	// ric_birth_mismatch birth id: positions 7 to 14 of the number.
	"ric_birth_mismatch": func(a []arg, row int) (int, feed.Rule) {
		id := a[1].text(row)
		if a[0].present(row) && len(id) == 18 && value.BirthDays(bytesOf(id)) != a[0].day(row) {
			return 0, feed.RICBirthMismatch
		}
		return 0, feed.NoRule
	},
	// org_type_mismatch type uscc: the first two characters of the code.
	"org_type_mismatch": func(a []arg, row int) (int, feed.Rule) {
		kind, uscc := a[0].text(row), a[1].text(row)
		if kind != "" && len(uscc) == 18 && value.OrgType(bytesOf(uscc)) != kind {
			return 0, feed.OrgTypeMismatch
		}
		return 0, feed.NoRule
	},
	// evaluator_self evaluator subject: nobody judges itself from outside.
	"evaluator_self": func(a []arg, row int) (int, feed.Rule) {
		if a[0].text(row) != "" && a[0].text(row) == a[1].text(row) {
			return 0, feed.EvaluatorSelf
		}
		return 0, feed.NoRule
	},
	// id_unchanged new old: both are 18 characters by now, so that a number and
	// its 15-digit form are one.
	"id_unchanged": func(a []arg, row int) (int, feed.Rule) {
		if a[0].text(row) != "" && a[0].text(row) == a[1].text(row) {
			return 0, feed.IDUnchanged
		}
		return 0, feed.NoRule
	},
}
