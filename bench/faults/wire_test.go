package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/flow"
)

func TestStatement(t *testing.T) {
	f := func(request, moment string, complete bool) {
		t.Helper()
		require.Equal(t, moment, statement([]byte(request)))
		require.Equal(t, complete, whole([]byte(request)))
	}
	f("POST /?database=d&query=INSERT+INTO+%60demo_site_history%60+%28 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n", "data insert", true)
	f("POST /?database=d&query=INSERT+INTO+%60ledger%60+%28 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "ledger insert", false)
	f("POST /?query=INSERT+INTO+%60receipt_parts%60+%28 HTTP/1.1\r\n\r\n5\r\n", "receipt part insert", true)
	f("POST /?database=d HTTP/1.1\r\nContent-Length: 20\r\n\r\nCREATE TABLE", "migration", false)
	f("POST /?database=d HTTP/1.1\r\nContent-Length: 12\r\n\r\nCREATE TABLE", "migration", true)
	f("POST /?wanted_structure=x HTTP/1.1\r\nContent-Length: 1\r\n\r\n-", "dedupe question", true)
	f("POST /?database=d HTTP/1.1\r\nContent-", "", false)
}

// TestEveryMomentIsKnown: a moment of the matrix that no request bears would
// never come.
func TestEveryMomentIsKnown(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range moments {
		require.False(t, seen[m.says], "%s stands there twice", m.says)
		seen[m.says] = true
	}
}

func TestTwoLoadsDifferInOrderOnly(t *testing.T) {
	a, b := newLoad(100, 1), newLoad(100, 2)
	require.Equal(t, a.want, b.want)
	require.NotEqual(t, a.messages, b.messages)
	require.ElementsMatch(t, a.messages, b.messages)
	require.EqualValues(t, len(a.messages), a.received())
	for _, o := range []flow.Outcome{flow.New, flow.Unchanged, flow.Correction, flow.Superseded, flow.Conflict, flow.Duplicate, flow.Rejected} {
		require.Positive(t, a.want[o], o.String())
	}
}
