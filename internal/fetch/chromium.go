package fetch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/andybalholm/brotli"
)

// A headless Chromium that lives inside an npm package, for machines without a
// browser of their own. It needs glibc and nothing else: NSS, NSPR and expat
// come with it.
var chromium = npmPackage{
	name:      "@sparticuz/chromium",
	version:   "153.0.0",
	integrity: "sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==",
}

const noChromium = "no Chromium: set CHROMIUM to a browser, or install one (Debian: apt-get install chromium)"

// Chromium gives a Chromium and the variables to start it with, in addition to
// the caller's own. It takes $CHROMIUM, else one on PATH, else fetches one. Start
// it headless with --no-sandbox: in a container, or as root, there is no sandbox.
func Chromium(ctx context.Context) (path string, env []string, err error) {
	if path := os.Getenv("CHROMIUM"); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", nil, fmt.Errorf("cannot use CHROMIUM: %w", err)
		}
		return path, nil, nil
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil, nil
		}
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", nil, fmt.Errorf("%s", noChromium)
	}
	dir, err := once(ctx, "chromium-"+chromium.version, unpackChromium)
	if err != nil {
		return "", nil, fmt.Errorf("%s (%w)", noChromium, err)
	}
	env = []string{
		"LD_LIBRARY_PATH=" + filepath.Join(dir, "lib"),
		"FONTCONFIG_FILE=" + filepath.Join(dir, "fonts.conf"),
	}
	return filepath.Join(dir, "chromium"), env, nil
}

func unpackChromium(ctx context.Context, dir string) error {
	parts := map[string][]byte{}
	err := chromium.unpack(ctx, dir, func(name string, r io.Reader) error {
		if path.Ext(name) != ".br" {
			return nil
		}
		b, err := io.ReadAll(r)
		parts[path.Base(name)] = b
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range []string{"chromium.br", "al2023.tar.br", "swiftshader.tar.br", "fonts.tar.br"} {
		b, ok := parts[name]
		if !ok {
			return fmt.Errorf("the package holds no %s", name)
		}
		r := brotli.NewReader(bytes.NewReader(b))
		if name == "chromium.br" {
			err = copyTo(filepath.Join(dir, "chromium"), r, 0o755)
		} else {
			err = walkTar(r, func(name string, r io.Reader) error {
				to := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
					return err
				}
				return copyTo(to, r, 0o755)
			})
		}
		if err != nil {
			return fmt.Errorf("cannot unpack %s: %w", name, err)
		}
	}
	// The package's own fonts.conf names folders of another system. Both
	// prefixes are relative to this file, so the cache can be moved.
	conf := strings.Join([]string{
		`<?xml version="1.0"?>`, `<!DOCTYPE fontconfig SYSTEM "fonts.dtd">`, `<fontconfig>`,
		`<dir prefix="relative">fonts</dir>`, `<dir>/usr/share/fonts</dir>`, `<cachedir prefix="xdg">fontconfig</cachedir>`,
		`</fontconfig>`, ``}, "\n")
	return os.WriteFile(filepath.Join(dir, "fonts.conf"), []byte(conf), 0o644)
}
