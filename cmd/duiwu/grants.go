package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/sink"
)

// showGrants prints the users of the database and of Kafka, each with the rights
// that its work needs: as sql, as users.xml, or as commands of Kafka. With units it
// prints the user who reads the rows of these units only.
func showGrants(w io.Writer, cat *feed.Catalogue, form string, l sink.Layout, units []string) error {
	switch form {
	case "", "sql", "xml":
		roles := sink.Roles(cat, l)
		if len(units) > 0 {
			roles = []sink.Role{unitReader(cat, l.Database, units)}
		}
		for i := range roles {
			text := "-- " + roles[i].What + "\n" + strings.Join(roles[i].SQL(), ";\n") + ";\n\n"
			if form == "xml" {
				text = "<!-- " + roles[i].What + " -->\n" + roles[i].XML(strings.Repeat("0", 64))
			}
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
		}
		return nil
	case "kafka":
		const acl = "kafka-acls.sh --bootstrap-server BROKER --command-config admin.properties --add --allow-principal User:%s %s\n"
		for _, unit := range reporting(cat) {
			topic, receipts := ingest.Topic(ingest.DefaultPrefix, unit), "duiwu.receipt."+unit
			if _, err := fmt.Fprintf(w, acl+acl+acl+acl,
				"duiwu-"+unit, "--operation Write --operation Describe --topic "+topic,
				"duiwu-"+unit, "--operation Read --operation Describe --topic "+receipts,
				"duiwu-worker", "--operation Read --operation Describe --topic "+topic,
				"duiwu-worker", "--operation Read --operation Write --operation Describe --topic "+receipts); err != nil {
				return err
			}
		}
		_, err := fmt.Fprintf(w, acl, "duiwu-worker", "--operation Read --group duiwu --resource-pattern-type prefixed")
		return err
	}
	return fmt.Errorf("show grants: %q is not sql, xml or kafka", form)
}

// unitReader is a user for a unit's own analysts: the rows of records and what the
// pipeline says of them. Dashboards do not use it, their scope is the plugin's gate.
func unitReader(cat *feed.Catalogue, database string, units []string) sink.Role {
	var records []string
	for _, s := range cat.Feeds {
		records = append(records, s.CurrentTable(), s.HistoryTable())
	}
	tables := scope.Tables(records)
	r := sink.Role{Name: "unit_" + strings.Join(units, "_"), What: "reads the rows of " + strings.Join(units, ", ") + " and of the national office, and the nation's published figures"}
	for _, t := range tables {
		r.Grants = append(r.Grants, "SELECT ON `"+database+"`.`"+t.Name+"`")
	}
	r.RowsXML = scope.UsersXML(database, tables, units)
	r.RowsSQL = scope.RowPolicies(database, "duiwu_"+r.Name, tables, units)
	return r
}
