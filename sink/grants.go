package sink

import (
	"fmt"
	"slices"
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
func Roles(c *feed.Catalogue, l Layout) []Role {
	db := quoteName(l.Database)
	all := db + ".*"
	insert := func(tables ...string) (out []string) {
		for _, t := range tables {
			out = append(out, "INSERT ON "+db+"."+quoteName(t))
			// A shard that knows who asks looks whether he may write what holds the rows.
			if l.Cluster != "" {
				out = append(out, "INSERT ON "+db+"."+quoteName(l.held(t)))
			}
		}
		return out
	}
	worker := append([]string{"SELECT ON " + all}, insert("quarantine", "ledger", "claims", "receipt_parts", "replayed")...)
	for _, s := range c.Feeds {
		worker = append(worker, insert(s.HistoryTable(), s.CurrentTable())...)
	}
	engines := []string{"TABLE ENGINE ON MergeTree", "TABLE ENGINE ON ReplacingMergeTree"}
	var everywhere []string
	if l.Cluster != "" {
		engines = []string{"TABLE ENGINE ON ReplicatedMergeTree", "TABLE ENGINE ON ReplicatedReplacingMergeTree", "TABLE ENGINE ON Distributed"}
		// What is asked of all servers is asked through a table function.
		everywhere = []string{"REMOTE ON *.*", "CREATE TEMPORARY TABLE ON *.*", "CLUSTER ON *.*"}
	}
	changes := slices.Concat(engines, everywhere)
	return []Role{
		{Name: "worker", What: "duiwu worker, duiwu replay; writes rows, changes and deletes none", Grants: worker},
		{Name: "migrate", What: "duiwu migrate; makes and widens tables", Grants: append([]string{
			"SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, ALTER ADD COLUMN, ALTER SETTINGS, ALTER VIEW MODIFY QUERY ON " + all}, changes...)},
		{Name: "steward", What: "duiwu keys rotate, duiwu erase, duiwu ledger, duiwu worklist decide; used by people, locked otherwise", Grants: append([]string{
			"SELECT, INSERT, CREATE TABLE, DROP TABLE, ALTER CONSTRAINT, ALTER DELETE, ALTER UPDATE ON " + all, "SELECT ON system.processes"}, changes...)},
		{Name: "publisher", What: "duiwu publish; adds editions, changes and deletes none", Grants: append([]string{"SELECT ON " + all}, insert("published_figures", "publications")...)},
		{Name: "doctor", What: "duiwu doctor, duiwu balance, duiwu receipt; reads", Grants: append([]string{
			"SELECT ON " + all, "SELECT ON system.parts", "SELECT ON system.disks", "SELECT ON system.row_policies"}, everywhere...)},
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
