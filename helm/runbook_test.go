package helm

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryAlertHasItsRunbook: the link of an alert ends at a heading of
// docs/operations.md, and every runbook there is of an alert.
func TestEveryAlertHasItsRunbook(t *testing.T) {
	rules, err := os.ReadFile("duiwu/templates/prometheusrule.yaml")
	require.NoError(t, err)
	page, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	f := func(pattern string, in []byte) (names []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(in), -1) {
			names = append(names, m[1])
		}
		return names
	}
	alerts := f(`(?m)^ +- alert: (\w+)$`, rules)
	require.NotEmpty(t, alerts)
	require.ElementsMatch(t, alerts, f(`(?m)^### (Duiwu\w+)$`, page))
	var anchors []string
	for _, a := range alerts {
		anchors = append(anchors, strings.ToLower(a))
	}
	require.Equal(t, anchors, f(`runbook_url: \{\{ \$url \}\}#(\w+)`, rules))
}
