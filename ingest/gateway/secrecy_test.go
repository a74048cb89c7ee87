package gateway_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/ingest/gateway"
)

var instance = regexp.MustCompile(`urn:uuid:[0-9a-f-]{36}`)

// bare is an answer without what is new in each: its number and its date.
func (g got) bare() string {
	h := g.header.Clone()
	h.Del("X-Request-Id")
	h.Del("Date")
	return fmt.Sprint(g.status, h, instance.ReplaceAllString(string(g.body), "urn:uuid:"))
}

// One unit cannot write as another, cannot read what became of its batches, and
// cannot learn that they are there: what exists and what does not are answered
// alike, to the byte.
func TestAnotherUnitDoesNotExist(t *testing.T) {
	db := database(t)
	b := newBench(t, func(o *gateway.Options) { o.Database = db })
	owner, stranger := b.token("310000"), b.token("320000")
	require.Equal(t, http.StatusAccepted, b.post(batches, owner, siteRows(3), "Idempotency-Key", "secret-1").status)
	b.sent("secret-1")
	require.Equal(t, http.StatusOK, b.get(batches+"/secret-1", owner).status)
	kept := len(b.messages("310000"))

	reads := []string{"/batches/secret-1", "/batches/secret-1/rejects", "/batches/secret-1/rejects?format=csv", "/calendar", "/calendar?months=99"}
	for _, path := range reads {
		there := b.get(sites+path, stranger)
		require.Equal(t, http.StatusNotFound, there.status)
		for _, none := range []string{
			strings.Replace(sites+path, "secret-1", "no-such", 1),
			strings.Replace(sites+path, "demo_site", "no_such_feed", 1),
			strings.Replace(sites+path, "310000", "330000", 1),
			strings.Replace(sites+path, "310000", "999999", 1),
			strings.Replace(sites+path, "310000", "nonsense", 1),
		} {
			require.Equal(t, there.bare(), b.get(none, stranger).bare(), none)
		}
	}
	// To its own stranger too, a batch of another is as one that never was.
	require.Equal(t, b.get("/v1/units/320000/feeds/demo_site/batches/never", stranger).bare(), b.get("/v1/units/320000/feeds/demo_site/batches/secret-1", stranger).bare())
	require.Equal(t, b.get(batches+"/secret-1", stranger).bare(), b.get("/v1/units/320000/feeds/demo_site/batches/secret-1", stranger).bare())

	// Writing: nothing is read of the body, nothing differs, nothing is sent.
	for _, path := range []string{"/batches", "/check"} {
		first := b.post(sites+path, stranger, siteRows(3), "Idempotency-Key", "secret-1")
		require.Equal(t, http.StatusNotFound, first.status)
		for _, other := range []got{
			b.post(sites+path, stranger, siteRows(3), "Idempotency-Key", "fresh"),
			b.post(sites+path, stranger, []byte("no table"), "Idempotency-Key", "secret-1"),
			b.post(sites+path, stranger, siteRows(3), "Content-Type", "image/png"),
			b.post(strings.Replace(sites, "310000", "999999", 1)+path, stranger, siteRows(3)),
		} {
			require.Equal(t, first.bare(), other.bare())
		}
	}
	// A key of another unit's batch is free in one's own.
	mine := b.post("/v1/units/320000/feeds/demo_site/batches", stranger, []byte("site_id,site_name,level,status,county_code\nX,示范点,1,2,320102\n"), "Idempotency-Key", "secret-1")
	require.Equal(t, http.StatusAccepted, mine.status, "%s", mine.body)
	b.sent("own")
	require.NotContains(t, string(b.get("/v1/units/320000/feeds/demo_site/batches/secret-1", stranger).body), "310000")
	// A record that says it is another unit's is refused, whoever sends it.
	foreign := []byte("reporting_unit,site_id,site_name,level,status,county_code\n310000,X,示范点,1,2,320102\n")
	b.post("/v1/units/320000/feeds/demo_site/batches", stranger, foreign).refusedAs(t, http.StatusUnprocessableEntity, "nothing-acceptable")

	// Tricks with the path.
	for _, path := range []string{
		"/v1/units/320000/../310000/feeds/demo_site/batches/secret-1",
		"/v1/units/320000%2F..%2F310000/feeds/demo_site/batches/secret-1",
		"/v1/units/320000/feeds/demo_site/batches/..%2F..%2F..%2F310000%2Fdemo_site%2Fsecret-1",
		"/v1/units/320000/feeds/..%2F..%2F310000%2Fdemo_site/batches/secret-1",
		"/v1/units/320000/feeds/demo_site/batches/%2e%2e",
		"/v1/units/320000/feeds/demo_site/batches/.lock",
		"/v1/units//feeds/demo_site/batches/secret-1",
		"/v1/units/310000%00/feeds/demo_site/batches/secret-1",
		"/v1/units/310000/feeds/demo_site/batches/secret-1/",
		"/V1/units/310000/feeds/demo_site/batches/secret-1",
		"/v1/units/３１００００/feeds/demo_site/batches/secret-1",
		"/v1/units/310000;320000/feeds/demo_site/batches/secret-1",
		"/v1/units/320000,310000/feeds/demo_site/batches/secret-1",
	} {
		res := b.get(path, stranger)
		require.Equal(t, http.StatusNotFound, res.status, path)
		require.NotContains(t, string(res.body), "secret-1", path)
	}
	// Headers and parameters that name another unit change nothing.
	for _, h := range [][]string{{"X-Unit", "310000"}, {"X-Original-URL", batches + "/secret-1"}, {"X-HTTP-Method-Override", "GET"}, {"X-Forwarded-Client-Cert", "Subject=\"OU=310000\""}} {
		require.Equal(t, http.StatusNotFound, b.get("/v1/units/320000/feeds/demo_site/batches/nothing?unit=310000", stranger, h...).status)
	}
	require.NotContains(t, string(b.get("/v1/session", stranger).body), "310000")
	require.NotContains(t, string(b.get("/v1/units/320000/calendar", stranger).body), "310000")
	require.Equal(t, http.StatusNotFound, b.get("/metrics", stranger).status, "counts of all units are not for units")

	// Nobody else got in either.
	for _, path := range append([]string{"/v1/session", "/v1/feeds/worker/template"}, sites+"/batches/secret-1", sites+"/calendar") {
		require.Equal(t, http.StatusUnauthorized, b.get(path, "").status, path)
	}
	require.Equal(t, http.StatusUnauthorized, b.post(batches, "", siteRows(1)).status)
	require.Len(t, b.messages("310000"), kept, "nothing was written for the owner")
}

// The allowance is each unit's own, and what somebody tries elsewhere counts
// against his.
func TestAUnitsAllowanceIsItsOwn(t *testing.T) {
	b := newBench(t, func(o *gateway.Options) { o.Limits.Rate, o.Limits.Burst = 0.001, 5 })
	one, two := b.token("310000"), b.token("320000")
	for range 5 {
		require.Equal(t, http.StatusNotFound, b.get(batches+"/x", two).status)
	}
	res := b.get(batches+"/x", two)
	res.refusedAs(t, http.StatusTooManyRequests, "too-many")
	require.NotEmpty(t, res.header.Get("Retry-After"))
	require.Equal(t, http.StatusOK, b.get("/v1/session", one).status)
}

// A page of another site may not use the certificate of a browser that is
// signed in.
func TestAForeignPageCannotSend(t *testing.T) {
	b := newBench(t, nil)
	b.post(batches, b.token("310000"), siteRows(1), "Sec-Fetch-Site", "cross-site").refusedAs(t, http.StatusForbidden, "cross-origin")
	b.post(batches, b.token("310000"), siteRows(1), "Origin", "https://evil.example").refusedAs(t, http.StatusForbidden, "cross-origin")
	require.Equal(t, http.StatusAccepted, b.post(batches, b.token("310000"), siteRows(1), "Sec-Fetch-Site", "same-origin").status)
	h := b.get("/", "").header
	require.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'; style-src 'self';")
	require.NotContains(t, h.Get("Content-Security-Policy"), "unsafe")
	require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
	page := string(b.get("/", "").body)
	require.NotRegexp(t, `<script(?:[^>]*)>[^<]`, page, "no script inside of the page")
	require.NotContains(t, page, "style=")
}

// docs/metrics.md and the code say the same, and no label names a unit.
func TestEveryMetricOfTheGatewayIsDocumented(t *testing.T) {
	b := newBench(t, nil)
	require.Equal(t, http.StatusAccepted, b.post(batches, b.token("310000"), siteRows(1)).status)
	b.sent("one")
	text := string(b.do(must(http.NewRequest("GET", b.admin+"/metrics", nil))).body)
	page, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	names := func(re, in string) (out []string) {
		for _, m := range regexp.MustCompile(re).FindAllStringSubmatch(in, -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return out
	}
	code := names(`# TYPE (duiwu_[a-z_]+)`, text)
	require.NotEmpty(t, code)
	require.Equal(t, code, names("\\| `(duiwu_gateway_[a-z_]+)`", string(page)))
	require.NotContains(t, text, "310000")
}
