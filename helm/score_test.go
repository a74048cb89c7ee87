package helm

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/internal/fetch"
)

// kube-score wants another release of Kubernetes' types than the module tools, so
// it stands by itself.
const kubeScore = "github.com/zegl/kube-score/cmd/kube-score@v1.20.0"

// scorer gives the path of kube-score, built once into the cache.
func scorer(t *testing.T) string {
	t.Helper()
	cache, err := fetch.Cache()
	require.NoError(t, err)
	dir := filepath.Join(cache, "kube-score-v1.20.0")
	program := filepath.Join(dir, "kube-score")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	if !full() {
		t.Skip("the chart is not scored: kube-score is not built; DUIWU_TEST=full go test ./helm builds it (once, about 1 minute)")
	}
	cmd := exec.Command("go", "install", "-trimpath", "-ldflags=-s -w", kubeScore)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0")
	raw, err := cmd.CombinedOutput()
	require.NoError(t, err, string(raw))
	return program
}

// TestScore: kube-score finds nothing critical in any scenario but what
// kube-score.yaml declares.
func TestScore(t *testing.T) {
	program := scorer(t)
	var declared []struct{ Scenario, Comment, Reason string }
	readYAML(t, "kube-score.yaml", &declared)
	used := map[int]bool{}
	for _, r := range render(t, matrix(t)) {
		var docs []string
		for _, file := range slices.Sorted(maps.Keys(r.Manifests)) {
			if strings.HasSuffix(file, ".yaml") {
				docs = append(docs, r.Manifests[file])
			}
		}
		cmd := exec.Command(program, "score", "-", "--output-format", "json", "--kubernetes-version", "v1.29")
		cmd.Stdin = strings.NewReader(strings.Join(docs, "\n---\n"))
		raw, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) { // its status only says that it found something
			require.NoError(t, err)
		}
		var objects []struct {
			ObjectName string `json:"object_name"`
			Checks     []struct {
				Grade    int
				Skipped  bool
				Comments []struct{ Path, Summary string }
			}
		}
		require.NoError(t, json.Unmarshal(raw, &objects), r.Name)
		require.NotEmpty(t, objects, r.Name)
		name, _, _ := strings.Cut(r.Name, "/")
		for _, o := range objects {
			for _, check := range o.Checks {
				for _, c := range check.Comments {
					if check.Skipped || check.Grade != 1 { // 1 is critical
						continue
					}
					i := slices.IndexFunc(declared, func(d struct{ Scenario, Comment, Reason string }) bool {
						return d.Scenario == name || d.Comment == c.Summary
					})
					if i < 0 {
						t.Errorf("%s: %s: %s %s", r.Name, o.ObjectName, c.Path, c.Summary)
					}
					used[i] = true
				}
			}
		}
	}
	for i, d := range declared {
		require.NotEmpty(t, d.Reason)
		require.True(t, used[i], "kube-score.yaml declares what is not found: %v", d)
	}
}
