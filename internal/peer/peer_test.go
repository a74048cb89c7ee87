package peer

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddressesAreReadWithoutTellingThePassword(t *testing.T) {
	for _, dsn := range []string{"", "http://", "host:8123/duiwu", "tcp://host/duiwu", "http://user:secret@host:8123", "http://user:se%cret@host/duiwu"} {
		_, err := NewDatabase(dsn, "", TLS{})
		require.ErrorContains(t, err, "write http://user:password@host:8123/database", dsn)
		require.False(t, strings.Contains(err.Error(), "secret"))
	}
	d, err := NewDatabase("https://host/duiwu", "", TLS{})
	require.NoError(t, err)
	require.Equal(t, "host:8443", d.Addr)
	require.Equal(t, "host", d.TLS.ServerName)
	require.False(t, d.TLS.InsecureSkipVerify)
}
