package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/sink"
)

// showGrants prints the users of the database and of Kafka, each with the rights
// that its work needs: as sql, as users.xml, or as commands of Kafka.
func showGrants(w io.Writer, cat *feed.Catalogue, form, database string) error {
	switch form {
	case "", "sql", "xml":
		roles := sink.Roles(cat, database)
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
