package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// The first release whose library holds ClickHouse's own HTTP and native
// servers; an older one cannot listen.
var chdb = npmPackage{
	name:      "@chdb/lib-linux-x64-gnu",
	version:   "26.7.3-stable.1",
	integrity: "sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
}

const chdbSum = "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5"

func chdbName() string { return "libchdb-" + chdb.version }

// LibCHDB gives the path of libchdb.so: ClickHouse 26.7 as a library, 180 MB
// to download and 570 MB on disk. $DUIWU_LIBCHDB names another one.
func LibCHDB(ctx context.Context) (string, error) {
	if path := os.Getenv("DUIWU_LIBCHDB"); path != "" {
		return path, nil
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("cannot fetch ClickHouse for %s/%s: only linux/amd64 (glibc) is pinned; set DUIWU_LIBCHDB to a libchdb 26.7+ of your own", runtime.GOOS, runtime.GOARCH)
	}
	dir, err := once(ctx, chdbName(), func(ctx context.Context, dir string) error {
		h := sha256.New()
		err := chdb.unpack(ctx, dir, func(name string, r io.Reader) error {
			if filepath.Base(name) != "libchdb.so" {
				return nil
			}
			return copyTo(filepath.Join(dir, "libchdb.so"), io.TeeReader(r, h), 0o755)
		})
		if err != nil {
			return err
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != chdbSum {
			return fmt.Errorf("libchdb.so is not the pinned one: sha256 %s, want %s", got, chdbSum)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "libchdb.so"), nil
}

// CachedLibCHDB gives the library only if it is here already, else ErrAbsent.
func CachedLibCHDB() (string, error) {
	if path := os.Getenv("DUIWU_LIBCHDB"); path != "" {
		return path, nil
	}
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, chdbName(), "libchdb.so")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("embedded ClickHouse %w", ErrAbsent)
	}
	return path, nil
}
