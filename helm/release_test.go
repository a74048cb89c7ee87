package helm

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/helm/cluster"
)

func readJSON(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, into), file)
}

// TestReleaseImage makes the image twice, with no registry: the same bytes come
// out, it is what the chart asks for, and its papers speak of it and of nothing else.
func TestReleaseImage(t *testing.T) {
	if !full() {
		t.Skip("the image is not made: DUIWU_TEST=full go test ./helm makes it (about 20 s)")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "image")
	raw, err := cluster.Compile(context.Background(), "../tools", program, "./image").CombinedOutput()
	require.NoError(t, err, string(raw))
	const commit = "0123456789abcdef0123456789abcdef01234567"
	release := func(out string) string {
		t.Helper()
		raw, err := exec.Command(program, "release", "-root", "..", "-arch", "amd64", "-version", "1.2.3", "-revision", commit, "-o", out).CombinedOutput()
		require.NoError(t, err, string(raw))
		return out
	}
	first, second := release(filepath.Join(dir, "first")), release(filepath.Join(dir, "second"))
	for _, file := range []string{"oci/index.json", "sbom-amd64.spdx.json", "provenance.json"} {
		a, err := os.ReadFile(filepath.Join(first, file))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(second, file))
		require.NoError(t, err)
		require.Equal(t, string(a), string(b), "two builds differ in %s", file)
	}

	type descriptor struct {
		MediaType, Digest string
		Platform          struct{ OS, Architecture string }
	}
	blob := func(d descriptor) string { return filepath.Join(first, "oci/blobs/sha256", d.Digest[len("sha256:"):]) }
	var images struct{ Manifests []descriptor }
	readJSON(t, filepath.Join(first, "oci/index.json"), &images)
	require.Len(t, images.Manifests, 1)
	require.Equal(t, "amd64", images.Manifests[0].Platform.Architecture)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	readJSON(t, blob(images.Manifests[0]), &manifest)
	require.Len(t, manifest.Layers, 1)
	var config struct {
		Config struct {
			User       string
			Entrypoint []string
			Labels     map[string]string
		}
	}
	readJSON(t, blob(manifest.Config), &config)
	require.Equal(t, "65532:65532", config.Config.User)
	require.Equal(t, []string{"/ko-app/duiwu"}, config.Config.Entrypoint)
	require.Equal(t, "1.2.3", config.Config.Labels["org.opencontainers.image.version"])
	require.Equal(t, commit, config.Config.Labels["org.opencontainers.image.revision"])
	said, err := exec.Command(filepath.Join(first, "duiwu-amd64"), "version").Output()
	require.NoError(t, err)
	require.Contains(t, string(said), "1.2.3")

	var sbom struct {
		Packages []struct{ Name, VersionInfo string }
	}
	readJSON(t, filepath.Join(first, "sbom-amd64.spdx.json"), &sbom)
	info, err := buildinfo.ReadFile(filepath.Join(first, "duiwu-amd64"))
	require.NoError(t, err)
	listed := map[string]string{}
	for _, p := range sbom.Packages {
		listed[p.Name] = p.VersionInfo
	}
	require.Equal(t, images.Manifests[0].Digest, listed["duiwu"])
	for _, m := range info.Deps {
		require.Equal(t, m.Version, listed[m.Path], m.Path)
	}
	require.Len(t, listed, len(info.Deps)+3, "the image, the program, the standard library, and the modules")

	var provenance struct {
		Subject   []struct{ Digest map[string]string }
		Predicate struct {
			BuildDefinition struct {
				ResolvedDependencies []struct{ Digest map[string]string }
			}
		}
	}
	readJSON(t, filepath.Join(first, "provenance.json"), &provenance)
	require.Len(t, provenance.Subject, 2)
	require.Equal(t, images.Manifests[0].Digest, "sha256:"+provenance.Subject[1].Digest["sha256"])
	require.Equal(t, commit, provenance.Predicate.BuildDefinition.ResolvedDependencies[0].Digest["gitCommit"])
}
