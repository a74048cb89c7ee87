package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// The users of users.xml, apart from the engine's own `default`.
const (
	Admin      = "admin"      // everything
	Writer     = "writer"     // SELECT and INSERT on duiwu.*
	Dashboards = "dashboards" // SELECT on duiwu.*
)

// systemDB gives the system database a UUID that stays: else the system logs
// of an earlier run are lost at a restart.
const systemDB = "ATTACH DATABASE _ UUID '6f0a2f5e-6d1b-4c0e-9d57-3b1f0c2a7e11' ENGINE = Atomic\n"

// clickhouse-local takes its level from log-level alone; without it everything
// is logged, which costs more than small queries do.
var configXML = template.Must(template.New("config.xml").Parse(`<clickhouse>
  <log-level>{{.LogLevel}}</log-level>
  <logger><level>{{.LogLevel}}</level><log>{{.Dir}}/engine.log</log><errorlog>{{.Dir}}/engine.err.log</errorlog><size>20M</size><count>2</count></logger>
  <users_config>{{.Dir}}/users.xml</users_config>
  <max_server_memory_usage>{{.MaxMemory}}</max_server_memory_usage>
  <max_concurrent_queries>100</max_concurrent_queries>
  <mark_cache_size>67108864</mark_cache_size>
  <background_pool_size>{{.BackgroundPool}}</background_pool_size>
  <background_schedule_pool_size>8</background_schedule_pool_size>
{{- if .Backups}}
  <backups><allowed_path>{{.Backups}}</allowed_path></backups>
{{- end}}
{{.ConfigXML}}
{{- if .SystemLogs}}
{{- range $log, $day := .Logs}}
  <{{$log}}><database>system</database><table>{{$log}}</table><flush_interval_milliseconds>1000</flush_interval_milliseconds><ttl>{{$day}} + INTERVAL 3 DAY DELETE</ttl></{{$log}}>
{{- end}}
{{- end}}
</clickhouse>
`))

// Native code for an expression costs 50 to 200 ms of CPU and pays only from many
// millions of rows on, which this server seldom sees.
//
// The engine's own session logs in as default without a password, so default
// stays password-less and can do nearly nothing.
var usersXML = template.Must(template.New("users.xml").Parse(`<clickhouse>
  <profiles>
    <default><compile_expressions>0</compile_expressions><compile_aggregate_expressions>0</compile_aggregate_expressions><compile_sort_description>0</compile_sort_description>{{.profile}}</default>
    <reader><profile>default</profile><readonly>2</readonly></reader>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
      <grants><query>GRANT SYSTEM LISTEN ON *.*</query><query>GRANT SELECT ON system.numbers</query></grants>
    </default>
    <admin>
      <password_sha256_hex>{{.admin}}</password_sha256_hex><networks><ip>{{.from}}</ip></networks><profile>default</profile><quota>default</quota>
      <access_management>1</access_management><named_collection_control>1</named_collection_control>
    </admin>
    <writer>
      <password_sha256_hex>{{.writer}}</password_sha256_hex><networks><ip>{{.from}}</ip></networks><profile>default</profile><quota>default</quota>
      <grants><query>GRANT SELECT, INSERT ON duiwu.*</query></grants>
    </writer>
    <dashboards>
      <password_sha256_hex>{{.dashboards}}</password_sha256_hex><networks><ip>{{.from}}</ip></networks><profile>reader</profile><quota>default</quota>
      <grants><query>GRANT SELECT ON duiwu.*</query><query>GRANT SELECT ON system.parts</query></grants>{{.dashboardsXML}}
    </dashboards>{{.usersXML}}
  </users>
</clickhouse>
`))

// prepare writes all files that the engine reads at its start and gives the
// passwords.
func prepare(o Options) (map[string]string, error) {
	for _, dir := range []string{o.Dir, filepath.Join(o.Dir, "data", "metadata")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the engine's folder: %w", err)
		}
	}
	pw, err := passwords(o)
	if err != nil {
		return nil, err
	}
	users := map[string]string{"profile": o.Profile, "dashboardsXML": o.DashboardsXML, "usersXML": o.UsersXML, "from": "127.0.0.1"}
	if o.Listen != "127.0.0.1" {
		users["from"] = "::/0"
	}
	for user, p := range pw {
		users[user] = fmt.Sprintf("%x", sha256.Sum256([]byte(p)))
	}
	// Without this folder the catalogue's background tasks are not started.
	sys := filepath.Join(o.Dir, "data", "metadata", "system.sql")
	if _, err := os.Stat(sys); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(sys, []byte(systemDB), 0o600); err != nil {
			return nil, fmt.Errorf("cannot write system.sql: %w", err)
		}
	}
	config := struct {
		Options
		Logs map[string]string // the column of the day, by log
	}{o, map[string]string{"query_log": "event_date", "part_log": "event_date", "opentelemetry_span_log": "finish_date"}}
	if err := render(filepath.Join(o.Dir, "config.xml"), configXML, config); err != nil {
		return nil, err
	}
	return pw, render(filepath.Join(o.Dir, "users.xml"), usersXML, users)
}

func render(path string, t *template.Template, data any) error {
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return fmt.Errorf("BUG: cannot render %s: %w", t.Name(), err)
	}
	return replace(path, []byte(b.String()))
}

// replace writes a file whole or not at all.
func replace(path string, b []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// passwords are kept beside the data, so that a restart serves the same DSN.
func passwords(o Options) (map[string]string, error) {
	kept, err := loadPasswords(o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	pw := map[string]string{Admin: rand.Text(), Writer: rand.Text(), Dashboards: rand.Text()}
	maps.Copy(pw, kept)
	for user, p := range o.Passwords {
		if _, ok := pw[user]; !ok {
			return nil, fmt.Errorf("cannot set a password: no user %q", user)
		}
		pw[user] = p
	}
	b, err := json.Marshal(pw)
	if err != nil {
		return nil, err
	}
	return pw, replace(filepath.Join(o.Dir, "passwords.json"), b)
}

func loadPasswords(dir string) (map[string]string, error) {
	b, err := os.ReadFile(filepath.Join(dir, "passwords.json"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the passwords: %w", err)
	}
	var pw map[string]string
	if err := json.Unmarshal(b, &pw); err != nil {
		return nil, fmt.Errorf("cannot read the passwords: %w", err)
	}
	return pw, nil
}
