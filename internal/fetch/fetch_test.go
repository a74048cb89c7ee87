package fetch

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var epoch = time.Unix(0, 0)

func TestMissingTool(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("DUIWU_CACHE", t.TempDir())
	f := func(err error, want string) {
		t.Helper()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := Kafka(t.Context())
	f(err, "java is not on PATH: install a Java 17+ runtime (Debian: apt-get install default-jre-headless)")
	_, err = LibCHDB(t.Context())
	f(err, "npm is not on PATH: install Node.js 20+ with npm")
	_, _, err = Chromium(t.Context())
	f(err, "no Chromium: set CHROMIUM to a browser, or install one")
}

func TestWrongArchiveIsRefused(t *testing.T) {
	// A stand-in for npm that packs something else.
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "npm"), []byte("#!/bin/sh\necho other > x.tgz\n"), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	cache := t.TempDir()
	t.Setenv("DUIWU_CACHE", cache)
	_, err := LibCHDB(t.Context())
	require.ErrorContains(t, err, "is not the pinned archive")
	_, err = CachedLibCHDB()
	require.ErrorIs(t, err, ErrAbsent)
	left, err := filepath.Glob(filepath.Join(cache, "*.tmp-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestOnceBuildsOnce(t *testing.T) {
	t.Setenv("DUIWU_CACHE", t.TempDir())
	var builds atomic.Int32
	_, err := once(t.Context(), "thing", func(context.Context, string) error { return errors.New("no luck") })
	require.ErrorContains(t, err, "cannot fetch thing: no luck")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			dir, err := once(t.Context(), "thing", func(_ context.Context, dir string) error {
				builds.Add(1)
				return os.WriteFile(filepath.Join(dir, "a"), nil, 0o644)
			})
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(filepath.Join(dir, "a")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, builds.Load())
}

func TestTarStaysInside(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "../out", Typeflag: tar.TypeReg}))
	require.NoError(t, w.Close())
	require.ErrorContains(t, walkTar(&b, nil), "a path outside itself")
}

func TestViewerBuildsOnlyWhenSourcesAreNewer(t *testing.T) {
	bin, web := t.TempDir(), t.TempDir()
	npm := "#!/bin/sh\necho $1 >> runs; mkdir -p node_modules dist\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "npm"), []byte(npm), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("DUIWU_CACHE", t.TempDir())
	_, err := viewer(t.Context(), web)
	require.ErrorContains(t, err, "package-lock.json")
	require.NoError(t, os.WriteFile(filepath.Join(web, "package-lock.json"), nil, 0o644))
	runs := func() int {
		_, err := viewer(t.Context(), web)
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(web, "runs"))
		require.NoError(t, err)
		os.Chtimes(filepath.Join(web, "runs"), epoch, epoch) // the stand-in's diary is no source
		return strings.Count(string(b), "ci")
	}
	require.Equal(t, 1, runs())
	require.Equal(t, 1, runs())
	stamp, err := os.Stat(filepath.Join(web, "node_modules", ".built"))
	require.NoError(t, err)
	later := stamp.ModTime().Add(1e9)
	require.NoError(t, os.Chtimes(filepath.Join(web, "package-lock.json"), later, later))
	require.Equal(t, 2, runs())
}
