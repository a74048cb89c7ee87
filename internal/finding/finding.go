// Package finding is the vocabulary of `duiwu doctor`: everything it can find,
// how bad it is, what it means and what to do about it. One table serves the
// command, its JSON and docs/operations.md. It is a leaf.
package finding

import (
	"fmt"
	"slices"
	"strings"
)

// Severity says how soon somebody has to act.
type Severity string

const (
	// Error: figures are wrong or records stop flowing; act now.
	Error Severity = "error"
	// Warning: nothing is wrong yet, or only a name; act in working hours.
	Warning Severity = "warning"
)

// Kind is one row of the table.
type Kind struct {
	ID       string
	Severity Severity
	// Means is what it means, Do what an operator does about it, at night and
	// without the source code.
	Means, Do string
}

// Finding is one thing that was found.
type Finding struct {
	Kind *Kind
	// Where is a topic and partition, a table, a unit, a setting.
	Where string
	// What says in numbers what was seen there.
	What string
}

// Of makes a finding of a kind of the table.
func Of(id, where, format string, args ...any) Finding {
	k := Named(id)
	if k == nil {
		panic("BUG: no finding " + id)
	}
	return Finding{Kind: k, Where: where, What: fmt.Sprintf(format, args...)}
}

// Named returns the kind with an id, or nil.
func Named(id string) *Kind {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.ID == id })
	if i < 0 {
		return nil
	}
	return &kinds[i]
}

// Kinds lists the table in its order.
func Kinds() []Kind { return slices.Clone(kinds) }

// Page is the table as a section of docs/operations.md.
func Page() string {
	var b strings.Builder
	b.WriteString("| finding | severity | what it means | what to do |\n|---|---|---|---|\n")
	for _, k := range kinds {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.ID, k.Severity, k.Means, k.Do)
	}
	return b.String()
}

var kinds = []Kind{
	// Kafka.
	{"topic_missing", Error, "A unit that reports has no topic, so it cannot send anything.",
		"Create the topic: `kafka-topics.sh --create --topic T --partitions 12 --config retention.ms=7776000000`. Workers find it within seconds."},
	{"topic_retention", Error, "Kafka deletes messages before the 90 days are over for which the quarantine promises a replay, or by size.",
		"`kafka-configs.sh --alter --topic T --add-config retention.ms=7776000000,retention.bytes=-1`, and give the brokers the disk for it."},
	{"topic_compacted", Error, "Kafka keeps only the newest message of a key; refused and superseded records vanish before they are read.",
		"`kafka-configs.sh --alter --topic T --add-config cleanup.policy=delete`; then ask the unit to push its last batches again."},
	{"topic_max_message", Warning, "The topic refuses messages that `duiwu push` and the gateway send.",
		"`kafka-configs.sh --alter --topic T --delete-config max.message.bytes`, or set it to 1048588 or more."},
	{"topic_in_sync", Warning, "One broker's failure can lose acknowledged messages, or stop the topic.",
		"Three replicas with `min.insync.replicas=2`: reassign the partitions, then `kafka-configs.sh --alter --topic T --add-config min.insync.replicas=2`."},
	{"topic_partitions", Warning, "Records lie in another partition than their key asks for: partitions were added, or a unit sends with another partitioner. Tables are right; outcomes of such records may be named wrongly. One that is read in two partitions before they know of each other is stored in both receipts, and in the balance once: it counts the rows of such a unit.",
		"If partitions were added: nothing, the note stays while old rows are sampled. Else tell the unit to send with `duiwu push`, or with the key unit + record_id and Java's default partitioner."},
	{"topic_anew", Error, "The topic was deleted and made again, or its log was cut short: offsets of the ledger name other messages now. The partition stands still.",
		"Find out who did it. When the new log is right: `duiwu ledger --by NAME --reason TEXT new-topic T`, and ask the unit to push again what was in the old one."},
	{"messages_expired", Error, "Kafka deleted messages before a worker read them. The partition stands still; these records are lost until they are sent again.",
		"Ask the unit to send the days again, then `duiwu ledger --by NAME --reason TEXT skip T PARTITION LAST-OFFSET`."},
	{"not_read", Warning, "Messages wait although nothing has been written for a while: no worker, or a stopped partition.",
		"Look at the workers' `/readyz` and log: a stopped partition says why. No worker: start one."},
	{"unit_silent", Warning, "A unit's topic stands, and nothing has ever come from the unit.",
		"Call the unit: see with `duiwu check` and `duiwu push` on its side whether it can send."},
	// Tables.
	{"schema_behind", Error, "The tables lack what the feed files describe; workers stop at the first insert.",
		"`duiwu migrate`; it only adds."},
	{"schema_differs", Error, "A table has another type, key or engine than the feed files say; a migration never changes that.",
		"Find who altered it (`SELECT * FROM schema_migrations`, the server's query log). Move the data to a table as `duiwu show ddl` prints it."},
	{"column_unknown", Warning, "A table has a column that these feed files do not know: a newer release migrated it, or somebody added it by hand.",
		"Run the same release everywhere. A column added by hand stays empty; drop it when nobody needs it."},
	{"deduplication_window", Error, "The table drops an insert that equals an earlier one; a worker that repeats a cut then sees too few rows written and never ends.",
		"`ALTER TABLE T MODIFY SETTING non_replicated_deduplication_window = 0`, or `replicated_deduplication_window = 0` where the engine is Replicated."},
	{"durability_mixed", Warning, "The ledger is on the disk before an insert into it is acknowledged, this table is not: after a power loss the ledger may account for rows that are gone.",
		"`duiwu migrate --durable yes`."},
	{"table_ttl", Error, "The server deletes rows of this table by age; history, receipts and the balance become wrong without a word.",
		"`ALTER TABLE T REMOVE TTL`; then restore from the backup what is gone."},
	{"row_policy_before_final", Error, "Row policies are applied before FINAL: a reader who may not see a record's newest version is shown an older one.",
		"Set `apply_row_policy_after_final = 1` in the profile of all users that read the tables."},
	{"grant_missing", Error, "The user of this DSN cannot read or write a table that a worker needs.",
		"`GRANT SELECT, INSERT ON DATABASE.* TO USER`."},
	{"setting_locked", Error, "The user's profile forbids a setting that every insert sends; inserts fail.",
		"Remove the constraint on the setting from the user's profile, or the profile's `readonly`."},
	{"too_many_parts", Warning, "Merges do not keep up; at 3,000 parts of a table the server refuses inserts.",
		"Look at `system.merges` and the disk; larger `--cut-rows` and `--linger` make fewer parts. `SYSTEM START MERGES` if somebody stopped them."},
	{"disk_filling", Warning, "A disk of the database is nearly full; when it is, inserts wait and the partitions stand.",
		"Free or add space now; nothing is lost while Kafka holds the messages."},
	{"clock_skew", Warning, "The clocks of this machine, the database or a worker differ; arrival times and «reported in the future» are judged by them.",
		"Set the clock by NTP on the machine named."},
	{"not_encrypted", Warning, "Records and passwords cross the network in clear: whoever is on the way can read and change them.",
		"Kafka: name a port that speaks TLS, remove `--kafka-tls=false`, and give `--kafka-ca` where the authority is a private one. ClickHouse: `https://HOST:8443/…` in the DSN, with `--clickhouse-ca`. [security.md](security.md) says how a network that encrypts by itself is told apart."},
	// Ledger.
	{"ledger_gap", Error, "Offsets between two cuts are in no row of the ledger: nobody knows what became of those messages.",
		"Keep the workers' logs of that time. Ask the unit to push the batches again; look at what stood there with a Kafka console consumer while Kafka holds it."},
	{"ledger_overlap", Error, "Two rows of the ledger account for one offset; its records are counted twice. Tables are right.",
		"Keep the workers' logs of that time and report it; the balance of the unit is too high by the smaller row."},
	{"ledger_rewind", Warning, "A worker began again far before where the ledger ended, and wrote several cuts anew. They count once.",
		"Find out who set the ledger or restored a backup; `SELECT * FROM claims` names the worker."},
	{"ledger_unbalanced", Error, "A row of the ledger does not add up, or its receipts say something else: a figure of the balance is wrong.",
		"Nobody writes these tables by hand: find out who did. Restore the ledger and receipt_parts of that cut from the backup."},
	{"rows_outside_ledger", Warning, "Rows stand in a table whose cut was never finished, for longer than a worker needs to come back.",
		"Start the workers; the next one writes the cut again. If the partition is stopped, its log says why."},
	{"current_differs", Error, "A current table is not the newest of its history; dashboards show something else than was sent.",
		"If `record_lost` stands beside it, mend that first: the history may be the one that lacks rows. Find out who wrote to the table or dropped its view. Rebuild it: with the workers stopped, `TRUNCATE TABLE current`, then the INSERT SELECT that `duiwu show ddl` prints for its view; where keys were rotated, with `SETTINGS log_comment` as its constraint asks."},
	{"replay_unfinished", Warning, "A replay was killed: rows stand at positions that still count as refused.",
		"Run the same `duiwu quarantine replay` again; it ends what was begun."},
	{"erased_present", Error, "Rows of a record that was erased at a person's request stand in a table: a backup of before was restored, or somebody wrote them by hand.",
		"Run the same `duiwu erase` again; `duiwu erase --list` says which were asked for."},
	// Recomputed from Kafka.
	{"received_differs", Error, "A cut holds another number of records in Kafka than the ledger says it received.",
		"Compare the release and feed files of the workers with these. If they are the same, keep the messages and report it."},
	{"record_lost", Error, "A record that Kafka holds inside a finished cut is neither stored nor refused.",
		"`duiwu replay --topic T --partition P --from OFFSET --to OFFSET --dry-run`, then without it: it writes what is missing. Then find who deleted it."},
	{"counts_differ", Warning, "Recomputed, a cut has other counts of stored, duplicate and refused than the ledger; every record is there, some outcomes are named wrongly.",
		"Expected after a record was pushed again behind a replay while the same worker ran on, or when keys moved between partitions. Else keep the cut's offsets and report it."},
	{"token_keys_differ", Error, "The tokens in the tables were made with other keys than those given here: people cannot be joined across them.",
		"Give every worker the same --token-keys file, the one that the tables are under (a later key counts only behind `duiwu keys rotate`); then replay the days of the wrong one."},
	{"hash_key_differs", Error, "The versions in the tables were made with another hash key than the one given here: every record sent again would look corrected.",
		"Give every worker the same --hash-key file; it never changes."},
}
