package helm

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"io"
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

// maker builds the program that makes images.
func maker(t *testing.T) string {
	t.Helper()
	if !full() {
		t.Skip("no image is made: DUIWU_TEST=full go test ./helm makes them (about 20 s)")
	}
	program := filepath.Join(t.TempDir(), "image")
	raw, err := cluster.Compile(context.Background(), "../tools", program, "./image").CombinedOutput()
	require.NoError(t, err, string(raw))
	return program
}

// descriptor and the others are as the OCI's image specification has them.
type descriptor struct {
	MediaType, Digest string
	Platform          struct{ OS, Architecture string }
}

// released is a layout with one image.
type released struct {
	Image  descriptor
	Layers []descriptor
	Config struct {
		User       string
		Entrypoint []string
		Labels     map[string]string
	}
	dir string
}

func (r released) blob(d descriptor) string {
	return filepath.Join(r.dir, "oci/blobs/sha256", d.Digest[len("sha256:"):])
}

func readRelease(t *testing.T, dir string) released {
	t.Helper()
	out := released{dir: dir}
	var index struct{ Manifests []descriptor }
	readJSON(t, filepath.Join(dir, "oci/index.json"), &index)
	require.Len(t, index.Manifests, 1)
	out.Image = index.Manifests[0]
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	readJSON(t, out.blob(out.Image), &manifest)
	out.Layers = manifest.Layers
	readJSON(t, out.blob(manifest.Config), &out)
	return out
}

// TestPluginImage: the image of a plugin holds the backend of its platform alone,
// and a program that puts it into Grafana's folder.
func TestPluginImage(t *testing.T) {
	program := maker(t)
	backend, err := duiwu() // any program of Go's will do
	require.NoError(t, err)
	raw, err := os.ReadFile(backend)
	require.NoError(t, err)
	dir := t.TempDir()
	pack := func(name string, content map[string][]byte) string {
		t.Helper()
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		z := zip.NewWriter(f)
		for name, raw := range content {
			h := &zip.FileHeader{Name: "a-plugin/" + name, Method: zip.Store}
			h.SetMode(0o755)
			w, err := z.CreateHeader(h)
			require.NoError(t, err)
			_, err = w.Write(raw)
			require.NoError(t, err)
		}
		require.NoError(t, z.Close())
		require.NoError(t, f.Close())
		return f.Name()
	}
	about := []byte(`{"id": "a-plugin"}`)
	packed := pack("plugin.zip", map[string][]byte{"plugin.json": about, "gpx_a_linux_amd64": raw, "gpx_a_linux_arm64": raw})
	out := filepath.Join(dir, "out")
	said, err := exec.Command(program, "release", "-root", "..", "-arch", "amd64", "-zip", packed, "-version", "1.2.3", "-o", out).CombinedOutput()
	require.NoError(t, err, string(said))
	r := readRelease(t, out)
	require.Equal(t, []string{"/install"}, r.Config.Entrypoint)
	require.Equal(t, "duiwu-plugin", r.Config.Labels["org.opencontainers.image.title"])
	require.Len(t, r.Layers, 1)
	layer, err := os.Open(r.blob(r.Layers[0]))
	require.NoError(t, err)
	defer layer.Close()
	unpacked, err := gzip.NewReader(layer)
	require.NoError(t, err)
	files := map[string]int64{}
	for archive := tar.NewReader(unpacked); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if h.Typeflag == tar.TypeReg {
			files[h.Name] = h.Mode
		}
	}
	require.Equal(t, map[string]int64{"install": 0o755, "plugin/a-plugin/plugin.json": 0o755, "plugin/a-plugin/gpx_a_linux_amd64": 0o755}, files)
	var sbom struct{ Packages []struct{ Name string } }
	readJSON(t, filepath.Join(out, "sbom-amd64.spdx.json"), &sbom)
	info, err := buildinfo.ReadFile(backend)
	require.NoError(t, err)
	require.Len(t, sbom.Packages, len(info.Deps)+3, "it speaks of the backend")

	said, err = exec.Command(program, "release", "-root", "..", "-arch", "amd64", "-zip", pack("none.zip", map[string][]byte{"plugin.json": about}), "-o", out).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(said), "no backend for linux/amd64")
}

// TestReleaseImage makes the image twice, with no registry: the same bytes come
// out, it is what the chart asks for, and its papers speak of it and of nothing else.
func TestReleaseImage(t *testing.T) {
	program, dir := maker(t), t.TempDir()
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

	r := readRelease(t, first)
	require.Equal(t, "amd64", r.Image.Platform.Architecture)
	require.Len(t, r.Layers, 1)
	require.Equal(t, "65532:65532", r.Config.User)
	require.Equal(t, []string{"/ko-app/duiwu"}, r.Config.Entrypoint)
	require.Equal(t, "1.2.3", r.Config.Labels["org.opencontainers.image.version"])
	require.Equal(t, commit, r.Config.Labels["org.opencontainers.image.revision"])
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
	require.Equal(t, r.Image.Digest, listed["duiwu"])
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
	require.Equal(t, r.Image.Digest, "sha256:"+provenance.Subject[1].Digest["sha256"])
	require.Equal(t, commit, provenance.Predicate.BuildDefinition.ResolvedDependencies[0].Digest["gitCommit"])
}
