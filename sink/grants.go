package sink

import (
	"fmt"
	"strings"

	"github.com/duiwu/duiwu/internal/feed"
)

// Role is a user of the database, with no more rights than its work needs.
type Role struct {
	Name, What string
	Grants     []string
	// RowsXML and RowsSQL narrow the rows, in either form; empty for all rows.
	RowsXML string
	RowsSQL []string
}

// Roles lists who speaks to the database.
func Roles(c *feed.Catalogue, database string) []Role {
	db := quoteName(database)
	all := db + ".*"
	worker := []string{"SELECT ON " + all}
	for _, t := range []string{"quarantine", "ledger", "claims", "receipt_parts", "replayed"} {
		worker = append(worker, "INSERT ON "+db+"."+quoteName(t))
	}
	for _, s := range c.Feeds {
		worker = append(worker, "INSERT ON "+db+"."+quoteName(s.HistoryTable()), "INSERT ON "+db+"."+quoteName(s.CurrentTable()))
	}
	return []Role{
		{Name: "worker", What: "duiwu worker, duiwu replay; writes rows, changes and deletes none", Grants: worker},
		{Name: "migrate", What: "duiwu migrate; makes and widens tables", Grants: []string{
			"SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, ALTER ADD COLUMN, ALTER VIEW MODIFY QUERY ON " + all,
			"TABLE ENGINE ON MergeTree", "TABLE ENGINE ON ReplacingMergeTree",
		}},
		{Name: "steward", What: "duiwu keys rotate, duiwu erase, duiwu ledger, duiwu worklist decide; used by people, locked otherwise", Grants: []string{
			"SELECT, INSERT, CREATE TABLE, DROP TABLE, ALTER CONSTRAINT, ALTER DELETE, ALTER UPDATE ON " + all,
			"TABLE ENGINE ON MergeTree", "TABLE ENGINE ON ReplacingMergeTree", "SELECT ON system.processes",
		}},
		{Name: "publisher", What: "duiwu publish; adds editions, changes and deletes none", Grants: []string{
			"SELECT ON " + all, "INSERT ON " + db + ".`published_figures`", "INSERT ON " + db + ".`publications`",
		}},
		{Name: "doctor", What: "duiwu doctor, duiwu balance, duiwu receipt; reads", Grants: []string{
			"SELECT ON " + all, "SELECT ON system.parts", "SELECT ON system.disks", "SELECT ON system.row_policies",
		}},
		{Name: "plugin", What: "the datasource plugin; reads, and sees in system.parts whether anything has changed", Grants: []string{
			"SELECT ON " + all, "SELECT(database, table, active, partition_id, max_block_number, data_version) ON system.parts",
		}},
	}
}

// SQL lists the statements that make the role's user on a server with access
// management. Nobody can log in until the hash is replaced.
func (r *Role) SQL() []string {
	name := quoteName("duiwu_" + r.Name)
	out := []string{"CREATE USER IF NOT EXISTS " + name + " IDENTIFIED WITH sha256_hash BY '" + hashHere + "'"}
	for _, g := range r.Grants {
		out = append(out, "GRANT "+g+" TO "+name)
	}
	return append(out, r.RowsSQL...)
}

// hashHere stands for the SHA-256 of a password, in hexadecimal.
const hashHere = "0000000000000000000000000000000000000000000000000000000000000000"

// XML is the role's user for users.xml.
func (r *Role) XML(passwordSHA256 string) string {
	var b strings.Builder
	name := "duiwu_" + r.Name
	fmt.Fprintf(&b, "<%s>\n  <password_sha256_hex>%s</password_sha256_hex><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>\n  <grants>\n", name, passwordSHA256)
	for _, g := range r.Grants {
		fmt.Fprintf(&b, "    <query>GRANT %s</query>\n", g)
	}
	fmt.Fprintf(&b, "  </grants>\n%s</%s>\n", r.RowsXML, name)
	return b.String()
}
