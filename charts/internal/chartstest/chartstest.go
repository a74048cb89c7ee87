// Package chartstest fills a real ClickHouse for the tests of charts. It stands
// in for the pipeline: the same tables by the same feed files, made by hand.
package chartstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/duiwu/duiwu/ingest/feeds"
	"github.com/duiwu/duiwu/internal/engine"
	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/testenv"
)

// Row is one record; what it leaves out takes the column's default.
type Row map[string]any

// DB is one database of the shared engine, or of a cluster.
type DB struct {
	Name     string
	Contract *feed.Catalogue
	at       *url.URL
	// cluster is the name of the cluster, empty on the shared engine.
	cluster string
}

// Contract loads the national contract.
func Contract(t testing.TB) *feed.Catalogue {
	t.Helper()
	c, err := feed.Load(feeds.FS)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// New makes an empty database with every feed's current and history table, and
// those of the pipeline's own that indicators read.
func New(t testing.TB, name string) *DB {
	t.Helper()
	return filled(t, Empty(t, name))
}

// OnShards is New on a cluster of two shards, laid out as the sink does it: rows
// of a unit on one shard, in tables that a Distributed one of the usual name shows.
func OnShards(t testing.TB, name string) *DB {
	t.Helper()
	c, err := engine.StartCluster(t.Context(), engine.Options{Lib: testenv.LibCHDB(t), Dir: t.TempDir()}, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop(context.WithoutCancel(t.Context())) }) // see testenv.Main
	db := &DB{Name: name, Contract: Contract(t), at: address(t, c.DSN()), cluster: engine.ClusterName}
	db.post(t, "", "CREATE DATABASE "+name+db.on(), nil)
	return filled(t, db)
}

func (db *DB) on() string {
	if db.cluster == "" {
		return ""
	}
	return " ON CLUSTER " + db.cluster
}

// table makes a table, and on a cluster what shows it.
func (db *DB) table(t testing.TB, name, columns, engine, unit string) {
	t.Helper()
	if db.cluster == "" {
		db.Exec(t, "CREATE TABLE "+name+" ("+columns+") ENGINE = "+engine)
		return
	}
	db.Exec(t, "CREATE TABLE "+name+"_local"+db.on()+" ("+columns+") ENGINE = "+engine)
	db.Exec(t, "CREATE TABLE "+name+db.on()+" ("+columns+") ENGINE = Distributed('"+db.cluster+"', '"+db.Name+"', '"+name+"_local', "+unit+")")
}

func filled(t testing.TB, db *DB) *DB {
	t.Helper()
	for _, s := range db.Contract.Feeds {
		var cols, all []string
		for _, c := range s.Columns() {
			col := fmt.Sprintf("`%s` %s", c.Name, c.ClickHouse)
			all = append(all, col)
			if c.Current {
				cols = append(cols, col)
			}
		}
		key := strings.Join(s.Key(), ", ")
		db.table(t, s.CurrentTable(), strings.Join(cols, ", "), "ReplacingMergeTree(_version, _is_deleted) ORDER BY ("+key+")", "cityHash64(reporting_unit)")
		db.table(t, s.HistoryTable(), strings.Join(all, ", "), "ReplacingMergeTree ORDER BY ("+key+", _version)", "cityHash64(reporting_unit)")
	}
	db.table(t, "receipt_parts_effective", "unit String, feed String, received Int64, rejected Int64, rules Map(String, Int64), arrived_at DateTime64(3, 'Asia/Shanghai')", "Memory", "cityHash64(unit)")
	db.table(t, "worklist_decisions", "decision_id String, case_id String, kind String, decision String, keep_unit String, unit_a String, token_a String, unit_b String, token_b String, decided_at DateTime64(3, 'Asia/Shanghai')", "MergeTree ORDER BY case_id", "0")
	db.table(t, "ledger", "topic String, incarnation Int32, partition Int32, first_offset Int64, last_offset Int64, kind String, received Int64, arrived_at DateTime64(3, 'Asia/Shanghai')", "MergeTree ORDER BY (topic, incarnation, partition)", "cityHash64(substringIndex(topic, '.', -1))")
	db.Exec(t, "CREATE VIEW ledger_effective"+db.on()+" AS SELECT * FROM ledger")
	db.table(t, "quarantine", "unit String, feed String, rules Array(String), arrived_at DateTime64(3, 'Asia/Shanghai')", "ReplacingMergeTree ORDER BY (unit, feed)", "cityHash64(unit)")
	return db
}

// Empty makes a database without a table.
func Empty(t testing.TB, name string) *DB {
	t.Helper()
	db := &DB{Name: name, Contract: Contract(t), at: address(t, testenv.ClickHouse(t).DSN())}
	db.post(t, "", "DROP DATABASE IF EXISTS "+name, nil)
	db.post(t, "", "CREATE DATABASE "+name, nil)
	return db
}

// DSN is the address of the database for the datasource.
func (db *DB) DSN() string {
	return (&url.URL{Scheme: "http", User: db.at.User, Host: db.at.Host, Path: "/" + db.Name}).String()
}

func address(t testing.TB, dsn string) *url.URL {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Exec runs one statement.
func (db *DB) Exec(t testing.TB, sql string) string {
	t.Helper()
	return db.post(t, db.Name, sql, nil)
}

// Insert stores rows. A row without _version takes 1, one without
// effective_from, period or reported_at takes those of 2016-10.
func (db *DB) Insert(t testing.TB, table string, rows ...Row) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i, r := range rows {
		full := Row{"_version": 1, "effective_from": "2016-10-31", "period": "2016-10-01", "reported_at": "2016-11-04 09:00:00.000",
			"_arrived_at": "2016-11-04 09:05:00.000", "record_id": fmt.Sprintf("%s-%d", table, i)}
		for k, v := range r {
			full[k] = v
		}
		if err := enc.Encode(full); err != nil {
			t.Fatal(err)
		}
	}
	raw := b.Bytes()
	if s := db.Contract.Feed(table); s != nil {
		db.post(t, db.Name, "INSERT INTO "+s.HistoryTable()+" FORMAT JSONEachRow", bytes.NewReader(raw))
	}
	db.post(t, db.Name, "INSERT INTO "+table+" FORMAT JSONEachRow", bytes.NewReader(raw))
}

// Query runs a statement with parameters and returns its rows.
func (db *DB) Query(t testing.TB, sql string, params map[string]string) []Row {
	t.Helper()
	v := url.Values{"database": {db.Name}, "default_format": {"JSONEachRow"}, "output_format_json_quote_64bit_integers": {"0"}}
	for name, value := range params {
		v.Set("param_"+name, value)
	}
	var rows []Row
	dec := json.NewDecoder(strings.NewReader(db.send(t, v, strings.NewReader(sql), sql)))
	for dec.More() {
		var r Row
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

func (db *DB) post(t testing.TB, database, sql string, body io.Reader) string {
	t.Helper()
	v := url.Values{"database": {database}}
	if body == nil {
		body = strings.NewReader(sql)
	} else {
		v.Set("query", sql)
	}
	return db.send(t, v, body, sql)
}

func (db *DB) send(t testing.TB, v url.Values, body io.Reader, sql string) string {
	t.Helper()
	// As those who read and write the tables send them; see scope.DB and the sink.
	v.Set("distributed_product_mode", "allow")
	v.Set("distributed_foreground_insert", "1")
	u := url.URL{Scheme: "http", Host: db.at.Host, RawQuery: v.Encode()}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.String(), body)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := db.at.User.Password()
	req.SetBasicAuth(db.at.User.Username(), password)
	req.Close = true // an idle connection keeps the engine from ending in order
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("cannot run %.2000s: %s", sql, out)
	}
	return strings.TrimSpace(string(out))
}

// Person makes a token.
func Person(i int) string { return fmt.Sprintf("person-%025d", i) }

// Small is a nation of four units whose figures fit on a page; the tests hold
// the values that were worked out by hand. Today is 2016-11-11.
//
//	310000 Shanghai   4 workers: P1, P2, P3 (also open in 320000, but joined later here), P7
//	320000 Jiangsu    3 workers: P4, P5, P6; P6 has equal starts in 320000 and 330000
//	330000 Zhejiang   0 workers: P8 left, P9 is a volunteer, P10 was voided
//	660000 the Corps  1 worker:  P11, no population of its own
func Small(t testing.TB, db *DB) {
	spell := func(id string, person int, unit, county, cat, start string, more Row) Row {
		r := Row{"record_id": id, "reporting_unit": unit, "id_number_token": Person(person), "employer_uscc": "52119900MJ0000018T",
			"start_on": start, "end_on": nil, "employment_form": "01", "worker_category": cat, "county_code": county, "effective_from": start}
		for k, v := range more {
			r[k] = v
		}
		return r
	}
	db.Insert(t, "employment",
		spell("e1", 1, "310000", "310115", "01", "2014-03-01", nil),
		spell("e2", 2, "310000", "310115", "01", "2016-11-11", nil), // joins today: counts
		spell("e3", 3, "310000", "310101", "02", "2016-01-10", nil),
		spell("e3", 3, "320000", "320102", "01", "2015-05-01", nil), // the earlier of two open spells
		spell("e4", 4, "320000", "320102", "01", "2010-01-01", nil),
		spell("e5", 5, "320000", "320102", "03", "2016-10-31", nil),
		spell("e6", 6, "320000", "320104", "02", "2016-02-01", nil),
		spell("e6", 6, "330000", "330102", "01", "2016-02-01", nil),                                               // equal start, higher code
		spell("e7", 7, "310000", "310101", "03", "2016-06-01", Row{"end_on": "2016-11-12", "leave_reason": "02"}), // leaves tomorrow: counts
		spell("e8", 8, "330000", "330102", "01", "2015-01-01", Row{"end_on": "2016-11-11", "leave_reason": "02"}), // left today: does not
		spell("e9", 9, "330000", "330102", "05", "2015-01-01", nil),
		spell("e10", 10, "330000", "330102", "01", "2015-01-01", nil),
		spell("e11", 11, "660000", "659001", "01", "2015-07-01", nil),
	)
	// A void is a newer version of the record that deletes it.
	db.Insert(t, "employment", spell("e10", 10, "330000", "330102", "01", "2015-01-01", Row{"_version": 2, "_is_deleted": 1}))

	ctx := func(id, unit, area string, users, population any, more Row) Row {
		r := Row{"record_id": id, "reporting_unit": unit, "division_code": area, "registered_users": users, "in_community_rehab": 1, "population": population}
		for k, v := range more {
			r[k] = v
		}
		return r
	}
	db.Insert(t, "context",
		ctx("c1", "310000", "310000", 300, 24000, nil),
		ctx("c2", "310000", "310115", 100, nil, nil),
		ctx("c3", "310000", "310101", 30, nil, nil),
		ctx("c1", "310000", "310000", 999, 9999, Row{"period": "2016-09-01", "effective_from": "2016-09-30"}), // an older month
		// Jiangsu reports counties only, and the national office knows another sum.
		ctx("c4", "320000", "320102", 200, 30000, nil),
		ctx("c5", "320000", "320104", 61, 20000, nil),
		ctx("c6", "000000", "330000", 50, 10000, nil),
		ctx("c7", "000000", "310000", 777, 77777, nil), // the province's own wins
		ctx("c8", "660000", "659001", 31, nil, nil),
	)
	// Zhejiang has sent nothing for October yet.
	org := func(id, unit, uscc, typ, status string, workers int, more Row) Row {
		r := Row{"record_id": id, "reporting_unit": unit, "uscc": uscc, "org_name": uscc, "org_type": typ, "county_code": unit, "status": status, "worker_total": workers}
		for k, v := range more {
			r[k] = v
		}
		return r
	}
	db.Insert(t, "org",
		org("o1", "310000", "ORG-A", "52", "active", 3, nil),
		org("o2", "310000", "ORG-B", "51", "active", 0, nil), // no workers, but a project
		org("o3", "310000", "ORG-C", "52", "active", 0, nil), // no workers, a project that has ended
		org("o4", "320000", "ORG-D", "53", "active", 0, nil), // no workers, but a post
		org("o5", "320000", "ORG-E", "52", "suspended", 5, nil),
		org("o6", "320000", "ORG-F", "91", "active", 5, nil), // a company
		org("o7", "320000", "ORG-A", "52", "active", 3, nil), // reported by two units: once
		org("o8", "330000", "ORG-G", "52", "active", 2, Row{"effective_from": "2016-09-30", "period": "2016-09-01"}),
		org("o8", "330000", "ORG-G", "52", "deregistered", 0, nil), // closed in October
	)
	project := func(id, unit, number, provider string, fen int64, start, end string, year int, more Row) Row {
		r := Row{"record_id": id, "reporting_unit": unit, "project_id": number, "purchaser_uscc": "11" + unit + "0000000000"[:10], "provider_uscc": provider, "project_name": number,
			"budget_year": year, "amount_fen": fen, "fund_source": "02", "procurement_method": "01", "service_types": []string{"1"}, "county_code": unit, "start_on": start, "end_on": end}
		for k, v := range more {
			r[k] = v
		}
		return r
	}
	db.Insert(t, "project",
		project("p1", "310000", "N1", "ORG-B", 60_000_00, "2016-01-01", "2016-12-31", 2016, nil),
		project("p2", "310000", "N2", "ORG-C", 20_000_00, "2016-01-01", "2016-06-30", 2016, nil),
		project("p3", "310000", "N3", "ORG-C", 99_000_00, "2016-12-01", "2016-12-31", 2016, nil), // has not begun
		project("p4", "310000", "N4", "ORG-C", 99_000_00, "2015-01-01", "2015-12-31", 2015, nil), // last year's
		// The provider's province repeats the contract with a wrong amount.
		project("p5", "320000", "N1", "ORG-B", 1_00, "2016-01-01", "2016-12-31", 2016, Row{"purchaser_uscc": "113100000000000000"[:18], "_version": 9}),
		project("p6", "320000", "N6", "ORG-D", 10_000_00, "2016-01-01", "2016-09-30", 2016, nil),
	)
	post := func(id, unit, provider string, fen int64, more Row) Row {
		r := Row{"record_id": id, "reporting_unit": unit, "post_id": id, "purchaser_uscc": "11" + unit + "0000000000"[:10], "provider_uscc": provider, "budget_year": 2016,
			"county_code": unit, "unit_price_fen": fen, "fund_source": "02", "start_on": "2016-01-01", "end_on": nil, "filled": true}
		for k, v := range more {
			r[k] = v
		}
		return r
	}
	db.Insert(t, "post",
		post("g1", "320000", "ORG-D", 20_000_00, Row{"effective_from": "2016-09-30", "period": "2016-09-01"}),
		post("g1", "320000", "ORG-D", 30_000_00, nil), // the newer month's price
		post("g2", "660000", "ORG-X", 40_000_00, nil),
	)
	training := func(unit, id, tier string) Row {
		return Row{"record_id": id, "reporting_unit": unit, "session_id": id, "tier": tier, "kind": "2", "county_code": unit, "start_on": "2016-03-01", "end_on": "2016-03-02", "hours": 16, "attendee_total": 3}
	}
	db.Insert(t, "training", training("310000", "s1", "4"), training("310000", "s2", "2"), training("320000", "s1", "3"))
	att := func(id, unit, session string, person int, passed any, day string) Row {
		return Row{"record_id": id, "reporting_unit": unit, "session_id": session, "id_number_token": Person(person), "hours_earned": 16, "passed": passed, "effective_from": day}
	}
	db.Insert(t, "attendance",
		att("a1", "310000", "s1", 1, true, "2016-03-02"),
		att("a2", "310000", "s2", 1, true, "2016-05-02"), // a second time: still one person
		att("a3", "310000", "s1", 2, false, "2016-03-02"),
		att("a4", "320000", "s1", 4, true, "2016-03-02"),
		att("a5", "320000", "s1", 5, true, "2015-12-31"), // last year
		att("a6", "320000", "s1", 6, nil, "2016-03-02"),
		att("a7", "330000", "s9", 8, true, "2016-03-02"), // no longer a worker
	)
	cert := func(id, unit string, person int, level, status, day string, more Row) Row {
		r := Row{"record_id": id, "reporting_unit": unit, "id_number_token": Person(person), "cert_level": level, "issued_on": day, "cert_status": status, "effective_from": day}
		for k, v := range more {
			r[k] = v
		}
		return r
	}
	db.Insert(t, "qualification",
		cert("q1", "310000", 1, "1", "1", "2012-01-01", nil),
		cert("q2", "310000", 1, "2", "4", "2014-01-01", nil), // level 2 revoked, level 1 stands
		cert("q3", "310000", 2, "1", "4", "2014-01-01", nil), // revoked
		cert("q4", "320000", 4, "0", "3", "2014-01-01", nil), // none
		cert("q5", "320000", 5, "2", "2", "2014-01-01", nil), // lapsed still counts
		cert("q6", "320000", 6, "1", "1", "2016-11-12", nil), // obtained tomorrow
		cert("q7", "660000", 11, "1", "1", "2015-01-01", nil),
	)
}
