package dashboards_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/duiwu/duiwu/charts/dashboards"
	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
)

func provision(t *testing.T, name string, to any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../provisioning", name, "duiwu.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, to))
}

// A server that is provisioned again, or with a renamed datasource, starts and
// has the same things: uids are fixed and what is gone is pruned.
func TestProvisioningIsStable(t *testing.T) {
	var ds struct {
		Prune       bool
		Datasources []struct {
			Name, UID, Type string
			JSONData        map[string]any `yaml:"jsonData"`
			SecureJSONData  map[string]any `yaml:"secureJsonData"`
		}
	}
	provision(t, "datasources", &ds)
	require.True(t, ds.Prune, "a renamed datasource with the same uid would stop the start")
	require.Len(t, ds.Datasources, 1)
	d := ds.Datasources[0]
	require.Equal(t, "duiwu", d.UID)
	require.Equal(t, "duiwu-datasource", d.Type)
	require.NotContains(t, d.JSONData, "password")
	require.Equal(t, "$DUIWU_CLICKHOUSE_PASSWORD", d.SecureJSONData["password"])
	// Every setting is one that the backend reads.
	settings, err := json.Marshal(d.JSONData)
	require.NoError(t, err)
	dec := json.NewDecoder(strings.NewReader(string(settings)))
	dec.DisallowUnknownFields()
	var config plugin.Config
	require.NoError(t, dec.Decode(&config))
	require.NotNil(t, config.Scope, "without a scope nobody would see anything")
	require.True(t, config.Scope.Of(scope.Asker{Login: "admin", Org: 1}).Nation())
	require.True(t, config.Scope.Of(scope.Asker{Login: "admin", Org: 2}).None())
	require.True(t, config.Scope.Of(scope.Asker{Org: 1}).None())

	var providers struct {
		Providers []struct {
			Name, FolderUID string
			Options         struct{ Path string }
		}
	}
	provision(t, "dashboards", &providers)
	require.Len(t, providers.Providers, len(dashboards.Languages))
	for i, lang := range dashboards.Languages {
		at := providers.Providers[i].Options.Path
		require.True(t, strings.HasSuffix(at, "/duiwu-datasource/dashboards/"+lang), at)
	}
	uids := map[string]bool{}
	require.NoError(t, fs.WalkDir(dashboards.FS, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := fs.ReadFile(dashboards.FS, path)
		require.NoError(t, err)
		m := read(t, b)
		require.LessOrEqual(t, len(m.UID), 40)
		require.False(t, uids[m.UID], m.UID)
		uids[m.UID] = true
		return nil
	}))
	require.Len(t, uids, 28)
}

// What an alert rule asks is what the backend answers with numbers, and the
// threshold compares that.
func TestAlertRulesCanBeAsked(t *testing.T) {
	var file struct {
		Groups []struct {
			Folder string
			Rules  []struct {
				UID, Title, Condition string
				Annotations           map[string]string
				Data                  []struct {
					RefID         string `yaml:"refId"`
					DatasourceUID string `yaml:"datasourceUid"`
					Model         map[string]any
				}
			}
		}
	}
	provision(t, "alerting", &file)
	d, err := plugin.Open(plugin.Config{URL: "http://127.0.0.1:1/duiwu", Today: "2016-11-11", Scope: scope.Everything()})
	require.NoError(t, err)
	defer d.Dispose()
	uids := map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			require.False(t, uids[r.UID], r.UID)
			uids[r.UID] = true
			for _, text := range r.Annotations {
				require.NotContains(t, text, "$", "%s: Grafana takes it for a variable of its environment", r.UID)
			}
			require.Len(t, r.Data, 2, r.UID)
			q, err := json.Marshal(r.Data[0].Model)
			require.NoError(t, err)
			require.Equal(t, "duiwu", r.Data[0].DatasourceUID)
			require.Equal(t, "numeric", r.Data[0].Model["format"])
			require.NoError(t, d.Check(q), r.UID)
			require.Equal(t, "__expr__", r.Data[1].DatasourceUID)
			require.Equal(t, r.Data[0].RefID, r.Data[1].Model["expression"])
			require.Equal(t, r.Condition, r.Data[1].RefID)
			require.Equal(t, "/d/"+dashboards.UID("D12", "zh"), r.Annotations["runbook_url"])
		}
	}
	require.GreaterOrEqual(t, len(uids), 5)
}
