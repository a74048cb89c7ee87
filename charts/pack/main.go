// Command pack makes the zip of the Grafana plugin: the front end, the dashboards
// and a backend for each platform, under a folder with the plugin's id, as
// Grafana expects it. The zip is the same for the same sources. It is not signed:
// signing adds a MANIFEST.txt to that folder and needs an account of Grafana's.
package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/duiwu/duiwu/internal/fetch"
)

// platforms are those on which Grafana is run in production.
var platforms = []string{"linux/amd64", "linux/arm64"}

func main() {
	out := flag.String("out", "bin", "folder of the zip")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	name, err := pack(ctx, *out, platforms)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
	fmt.Println(name)
}

// manifest is what packing must know of plugin.json.
type manifest struct {
	ID, Executable string
	Info           struct{ Version string }
}

// pack builds everything into a folder and zips it; it returns the zip's name.
func pack(ctx context.Context, out string, platforms []string) (string, error) {
	tmp, err := os.MkdirTemp("", "duiwu-pack-")
	if err != nil {
		return "", fmt.Errorf("cannot make a folder for the plugin: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := fetch.Plugin(ctx, tmp); err != nil {
		return "", err
	}
	m, err := read(tmp)
	if err != nil {
		return "", err
	}
	for _, p := range platforms {
		if err := backend(ctx, p, filepath.Join(tmp, binary(m, p))); err != nil {
			return "", err
		}
	}
	name := filepath.Join(out, m.ID+"-"+m.Info.Version+".zip")
	if err := write(name, m.ID, os.DirFS(tmp)); err != nil {
		return "", err
	}
	return name, nil
}

func read(dir string) (manifest, error) {
	var m manifest
	b, err := os.ReadFile(filepath.Join(dir, "plugin.json"))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return m, fmt.Errorf("cannot read plugin.json: %w", err)
	}
	return m, nil
}

// binary is the name under which Grafana looks for the backend of a platform.
func binary(m manifest, platform string) string {
	return m.Executable + "_" + strings.ReplaceAll(platform, "/", "_")
}

func backend(ctx context.Context, platform, to string) error {
	goos, arch, _ := strings.Cut(platform, "/")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "arrow_json_stdlib", "-ldflags", "-s -w", "-o", to, "github.com/duiwu/duiwu/charts/pkg")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+arch)
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the backend for %s: %w\n%s", platform, err, b)
	}
	return nil
}

// write zips a folder under a name. Times are fixed, so that a zip says what is in
// it and not when it was made.
func write(name, root string, dir fs.FS) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("cannot make the zip: %w", err)
	}
	defer func() {
		if e := f.Close(); err == nil && e != nil {
			err = fmt.Errorf("cannot write the zip: %w", e)
		}
	}()
	z := zip.NewWriter(f)
	err = fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		h := &zip.FileHeader{Name: root + "/" + path, Method: zip.Deflate, Modified: time.Date(2016, 11, 11, 0, 0, 0, 0, time.UTC)}
		h.SetMode(0o644)
		if strings.HasPrefix(path, "gpx_") {
			h.SetMode(0o755) // Grafana starts it
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		r, err := dir.Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot write the zip: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("cannot write the zip: %w", err)
	}
	return nil
}
