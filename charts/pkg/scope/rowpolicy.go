package scope

import (
	"fmt"
	"strings"
)

// Table is a table with the column that says whose a row is.
type Table struct{ Name, Column string }

// Tables lists those of which a unit's own user may read his rows: the records,
// given by the names of their tables, and what the pipeline says of them. What the
// national office sends, such as counts of residents, is everybody's; of
// published figures those of the nation are.
func Tables(records []string) []Table {
	var out []Table
	for _, name := range records {
		out = append(out, Table{name, "reporting_unit"})
	}
	for _, name := range []string{"quarantine", "receipt_parts", "published_figures"} {
		out = append(out, Table{name, "unit"})
	}
	return out
}

// filter is the condition of a row policy.
func (t Table) filter(units []string) string {
	everybody := Office
	if t.Name == "published_figures" {
		everybody = ""
	}
	return t.Column + " IN ('" + strings.Join(append(append([]string{}, units...), everybody), "', '") + "')"
}

// UsersXML is the part of a user of users.xml that lets him see the rows of some
// units only, for a server whose users stand in that file.
func UsersXML(database string, tables []Table, units []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<databases><%s>\n", database)
	for _, t := range tables {
		fmt.Fprintf(&b, "  <%s><filter>%s</filter></%s>\n", t.Name, t.filter(units), t.Name)
	}
	fmt.Fprintf(&b, "</%s></databases>\n", database)
	return b.String()
}

// RowPolicies are the same as statements, for a server that keeps its users
// itself. Users without a policy go on to see every row.
func RowPolicies(database, user string, tables []Table, units []string) []string {
	var out []string
	for _, t := range tables {
		out = append(out, fmt.Sprintf("CREATE ROW POLICY OR REPLACE `%s` ON `%s`.`%s` FOR SELECT USING %s TO `%s`", user, database, t.Name, t.filter(units), user))
	}
	return out
}
