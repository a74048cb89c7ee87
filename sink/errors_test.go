package sink

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/feed"
	"github.com/duiwu/duiwu/internal/flow"
	"github.com/duiwu/duiwu/internal/testenv"
)

var update = flag.Bool("update", false, "write made files")

// TestErrorsAreNamedAsTheServerNamesThem: a number that was mistaken would stop a
// partition for nothing, or try for ever what only an operator can mend.
func TestErrorsAreNamedAsTheServerNamesThem(t *testing.T) {
	s, err := Open(t.Context(), Options{DSN: testenv.ClickHouse(t).DSN(), Catalogue: &feed.Catalogue{}})
	require.NoError(t, err)
	defer s.Close()
	for _, code := range slices.Sorted(maps.Keys(troubles)) {
		var name string
		require.NoError(t, s.rows(t.Context(), fmt.Sprintf("SELECT errorCodeToName(%d)", code), nil, func(scan func(...any) error) error { return scan(&name) }))
		if name != troubles[code].name {
			t.Errorf("%d is %s here and %s in ClickHouse", code, troubles[code].name, name)
		}
	}
}

// TestErrorsPage holds docs/errors.md to the table; -update writes it.
func TestErrorsPage(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# What an error of ClickHouse does to a partition

Made from the table in sink/errors.go by ` + "`go test ./sink -run TestErrorsPage -update`" + `; do not edit.

Three things can be wrong, and each has one answer:

- **A record** is bad: it goes to the quarantine with its rule, and the partition goes on. No error of a server ever does that.
- **Time will mend it**: the same cut is written again after a pause that doubles from 0.2 s to 30 s, for as long as it takes.
  Nothing behind it is read meanwhile. The worker's log says *write failed, trying again*.
- **Somebody has to act**: the partition stops, the worker says so in its log (*partition stopped; nothing was skipped*) and
  on /readyz. It tries again where the ledger ends after a minute, then at growing pauses of up to 15 minutes, and at once
  when it is started again or the group deals partitions out anew.

A row is never skipped. An error that is not in the table is tried again. The text of the server is not repeated, since
it may quote values; look for it in the server's log.
`)
	for _, part := range []struct {
		title string
		retry bool
	}{{"Tried again until it works", true}, {"Stopped until somebody acts", false}} {
		fmt.Fprintf(&b, "\n## %s\n\n| code | name | what the worker says |\n|---|---|---|\n", part.title)
		for _, code := range slices.Sorted(maps.Keys(troubles)) {
			if info := troubles[code]; info.retry == part.retry {
				fmt.Fprintf(&b, "| %d | %s | %s |\n", code, info.name, info.says)
			}
		}
		if part.retry {
			fmt.Fprintf(&b, "| any other | | %s |\n", unlisted)
		}
		for status := 300; status < 600; status++ {
			e := &ServerError{Status: status}
			if text := http.StatusText(status); text != "" && e.Retriable() == part.retry && (!part.retry || status == http.StatusTooManyRequests || status >= 502 && status <= 504) {
				fmt.Fprintf(&b, "| HTTP %d | %s, without a code of ClickHouse | %s |\n", status, text, statusSays(status))
			}
		}
	}
	const file = "../docs/errors.md"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o644))
	}
	have, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(have), b.String(), "docs/errors.md is stale: go test ./sink -run TestErrorsPage -update")
}

// TestACancelledNeighbourIsSaidInWords: the transport reports why a context ended
// as its own error, with the URL around it.
func TestACancelledNeighbourIsSaidInWords(t *testing.T) {
	cause := flow.Permanent(&ServerError{Code: 16})
	err := serverError(fmt.Errorf("sendQuery: %w", &url.Error{Op: "Post", URL: "http://u@h/?param_x=secret", Err: cause}))
	require.True(t, flow.IsPermanent(err))
	require.Equal(t, cause.Error(), err.Error())
}
