package helm

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheRuleIsMade keeps the rendered rule where bench/faults finds it: there
// its expressions are evaluated over what a real worker served under a fault.
func TestTheRuleIsMade(t *testing.T) {
	const file = "testdata/prometheusrule.yaml"
	r := render(t, []scenario{{Name: "duiwu", APIVersions: operators, Values: "monitoring: {rules: {lagMessages: 100}}"}})[0]
	require.Empty(t, r.Error)
	var text string
	for name := range r.Manifests {
		if strings.HasSuffix(name, "/prometheusrule.yaml") {
			text = r.Manifests[name]
		}
	}
	_, made, ok := strings.Cut(text, "\nspec:\n") // what is above names the release of the chart
	require.True(t, ok)
	made = "spec:\n  " + strings.TrimSpace(made) + "\n"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(made), 0o644))
	}
	have, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(have), made, "stale: go test ./helm -run TestTheRuleIsMade -update")
}
