package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest"
	"github.com/duiwu/duiwu/ingest/gateway"
)

// contract is the OpenAPI document as it is served, and what was seen of it.
type contract struct {
	t     *testing.T
	paths map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]struct {
				Schema struct {
					Ref string `json:"$ref"`
				} `json:"schema"`
			} `json:"content"`
		} `json:"responses"`
		Security *[]any `json:"security"`
	}
	compiler *jsonschema.Compiler
	seen     map[string]bool
}

func newContract(t *testing.T, raw []byte) *contract {
	c := &contract{t: t, seen: map[string]bool{}, compiler: jsonschema.NewCompiler()}
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   json.RawMessage
	}
	require.NoError(t, json.Unmarshal(raw, &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	require.NoError(t, json.Unmarshal(doc.Paths, &c.paths))
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	require.NoError(t, err)
	require.NoError(t, c.compiler.AddResource("gateway:doc", whole))
	c.compiler.DefaultDraft(jsonschema.Draft2020)
	c.compiler.AssertFormat()
	return c
}

// holds requires that an answer is one that the document promises for the route.
func (c *contract) holds(method, path string, g got) got {
	c.t.Helper()
	status := fmt.Sprint(g.status)
	op, ok := c.paths[path][strings.ToLower(method)]
	require.True(c.t, ok, "%s %s is not in the document", method, path)
	reply, ok := op.Responses[status]
	require.True(c.t, ok, "%s %s answered %s, which the document does not know: %s", method, path, status, g.body)
	media, _, _ := strings.Cut(g.header.Get("Content-Type"), ";")
	content, ok := reply.Content[media]
	require.True(c.t, ok, "%s %s answered %s as %q", method, path, status, media)
	if ref := content.Schema.Ref; ref != "" {
		schema, err := c.compiler.Compile("gateway:doc" + ref)
		require.NoError(c.t, err)
		body, err := jsonschema.UnmarshalJSON(bytes.NewReader(g.body))
		require.NoError(c.t, err)
		require.NoError(c.t, schema.Validate(body), "%s %s %s: %s", method, path, status, g.body)
	}
	c.seen[method+" "+path+" "+status+" "+media] = true
	return g
}

// TestOpenAPI exercises every route with every status and media type that the
// document names, and validates what is answered.
func TestOpenAPI(t *testing.T) {
	db := database(t)
	b := newBench(t, func(o *gateway.Options) {
		o.Database = db
		o.Limits.Bytes, o.Limits.Grace, o.Limits.Rows = 1<<20, 200*time.Millisecond, 100
	})
	token := b.token("310000")
	c := newContract(t, b.get("/openapi.json", "").body)
	c.holds("GET", "/openapi.json", b.get("/openapi.json", ""))
	at := strings.NewReplacer("{unit}", "310000", "{feed}", "demo_site", "{batch}", "one")
	do := func(on *bench, method, path, query, token string, body []byte, headers ...string) got {
		t.Helper()
		var r io.Reader
		if method == "POST" {
			r = bytes.NewReader(body)
		}
		return c.holds(method, path, on.do(on.request(method, at.Replace(path)+query, token, r, headers...)))
	}
	const send, one, refused, check = "/v1/units/{unit}/feeds/{feed}/batches", "/v1/units/{unit}/feeds/{feed}/batches/{batch}", "/v1/units/{unit}/feeds/{feed}/batches/{batch}/rejects", "/v1/units/{unit}/feeds/{feed}/check"
	const feedCalendar, calendar, template, session = "/v1/units/{unit}/feeds/{feed}/calendar", "/v1/units/{unit}/calendar", "/v1/feeds/{feed}/template", "/v1/session"

	// What every signed-in route may refuse.
	tight := newBench(t, func(o *gateway.Options) { o.Limits.Rate, o.Limits.Burst = 0.001, 1 })
	_ = tight.get("/v1/session", tight.token("310000"))
	for path, methods := range c.paths {
		for method, op := range methods {
			if op.Security != nil {
				continue // open
			}
			m := strings.ToUpper(method)
			do(b, m, path, "", "", nil)
			do(b, m, path, "", b.token(""), nil)
			do(tight, m, path, "", tight.token("310000"), nil)
			if strings.Contains(path, "{unit}") {
				do(b, m, path, "", b.token("320000"), nil)
			}
		}
	}

	mixed := append(siteRows(3), "S-7,示范点,9,2,310115\n"...)
	require.EqualValues(t, 1, do(b, "POST", send, "", token, mixed, "Idempotency-Key", "one").field("rows_refused"))
	b.sent("one")
	do(b, "POST", send, "", token, mixed, "Idempotency-Key", "one")
	do(b, "POST", send, "", token, siteRows(1), "Idempotency-Key", "one")
	do(b, "GET", one, "", token, nil)
	require.Len(t, do(b, "GET", refused, "", token, nil).field("rejects"), 1)
	require.Contains(t, string(do(b, "GET", refused, "?format=csv", token, nil).body), ",5,,level,code_list,")
	do(b, "GET", refused, "?format=pdf", token, nil)
	found := do(b, "POST", check, "?rows=10", token, mixed)
	require.Contains(t, string(found.body), `"cells":["S-7","示范点","9","2","310115"]`, "the sender sees his own row")
	do(b, "POST", check, "?format=xlsx", token, mixed)
	for _, path := range []string{send, check} {
		slow, w := io.Pipe()
		c.holds("POST", path, b.do(b.request("POST", at.Replace(path), token, slow)))
		_ = w.Close()
		do(b, "POST", path, "?as_of=x", token, siteRows(1))
		do(b, "POST", path, "", token, make([]byte, 2<<20))
		do(b, "POST", path, "", token, siteRows(1), "Content-Type", "image/png")
		do(b, "POST", path, "", token, []byte("%PDF-1.7"))
	}
	do(b, "GET", feedCalendar, "", token, nil)
	do(b, "GET", feedCalendar, "?months=0", token, nil)
	do(b, "GET", calendar, "?months=36", token, nil)
	do(b, "GET", calendar, "?months=x", token, nil)
	do(b, "GET", template, "", token, nil)
	c.holds("GET", template, b.get("/v1/feeds/no_such/template", token))
	do(b, "GET", session, "", token, nil)
	do(b, "GET", session, "", b.token("310000 000000"), nil)
	do(b, "GET", "/livez", "", "", nil)
	do(b, "GET", "/readyz", "", "", nil)

	// The machine's own troubles.
	producer, err := ingest.NewProducer(ingest.Broker{Brokers: []string{"127.0.0.1:1"}})
	require.NoError(t, err)
	defer func() { _ = producer.Close() }()
	dark := newBench(t, func(o *gateway.Options) {
		o.Broker, o.Producer = ingest.Broker{Brokers: []string{"127.0.0.1:1"}}, producer
	})
	do(dark, "POST", send, "", dark.token("310000"), siteRows(1), "Idempotency-Key", "one")
	for _, path := range []string{one, refused, feedCalendar, calendar} {
		do(dark, "GET", path, "", dark.token("310000"), nil)
	}
	keyless := newBench(t, nil)
	require.NoError(t, os.Remove(keyless.issuer.file))
	do(keyless, "GET", "/readyz", "", "", nil)

	var unseen []string
	for path, methods := range c.paths {
		for method, op := range methods {
			for status, reply := range op.Responses {
				for media := range reply.Content {
					if key := strings.ToUpper(method) + " " + path + " " + status + " " + media; status != "default" && !c.seen[key] {
						unseen = append(unseen, key)
					}
				}
			}
		}
	}
	slices.Sort(unseen)
	require.Empty(t, unseen, "promised and never seen")
	require.Equal(t, http.StatusMethodNotAllowed, b.do(b.request("DELETE", batches, token, nil)).status)
}
