package plugin

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/stretchr/testify/require"
)

func TestTLSSettings(t *testing.T) {
	asked := 0
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, "Code: 516. Authentication failed", http.StatusUnauthorized)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that goes away is the point
	s.StartTLS()
	defer s.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	f := func(c Config, reached bool, fault string) {
		t.Helper()
		asked = 0
		c.URL = s.URL + "/duiwu"
		res, err := open(t, c).CheckHealth(t.Context(), &backend.CheckHealthRequest{})
		require.NoError(t, err)
		require.Equal(t, reached, asked > 0)
		require.Contains(t, string(res.JSONDetails), `"fault":"`+fault+`"`)
	}
	f(Config{}, false, "tls")
	f(Config{CACert: ca}, true, "auth")
	f(Config{TLSSkipVerify: true}, true, "auth")
	_, err := Open(Config{URL: s.URL + "/duiwu", CACert: "not a certificate"})
	require.ErrorContains(t, err, "no certificate in PEM form")
	_, err = Open(Config{URL: "http://127.0.0.1:1/duiwu", TLSSkipVerify: true})
	require.ErrorContains(t, err, "does not begin with https://")
}

// The front end's examples are queries that the backend plans, and use every key
// of the model between them; the front end's tests hold its type to the same file.
func TestFrontEndSpeaksTheModel(t *testing.T) {
	b, err := os.ReadFile("../../src/testdata/queries.json")
	require.NoError(t, err)
	var queries []json.RawMessage
	require.NoError(t, json.Unmarshal(b, &queries))
	d := open(t, Config{URL: "http://127.0.0.1:1/duiwu", Today: today})
	used := map[string]bool{}
	for _, q := range queries {
		require.NoError(t, d.Check(q), string(q))
		var keys map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(q, &keys))
		for k := range keys {
			used[k] = true
		}
	}
	var grafanas = strings.Fields("datasource datasourceId hide key intervalMs maxDataPoints timeRange scopes")
	for _, k := range grafanas {
		used[k] = true
	}
	var walk func(t reflect.Type) []string
	walk = func(t reflect.Type) (out []string) {
		for i := range t.NumField() {
			if f := t.Field(i); f.Anonymous {
				out = append(out, walk(f.Type)...)
			} else {
				out = append(out, f.Tag.Get("json"))
			}
		}
		return out
	}
	for _, k := range walk(reflect.TypeFor[Model]()) {
		require.True(t, used[k], "no example of the front end uses %q", k)
		delete(used, k)
	}
	require.Empty(t, used, "keys that the model does not have")
}
