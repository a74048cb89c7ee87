package fetch

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Viewer builds the front end of the viewer and gives its dist folder. It is
// built again only when a source or the lock file is newer than the last
// build.
func Viewer(ctx context.Context) (string, error) {
	root, err := repoRoot()
	if err != nil {
		return "", err
	}
	return viewer(ctx, filepath.Join(root, "charts", "viewer", "web"))
}

func viewer(ctx context.Context, web string) (string, error) {
	if _, err := os.Stat(filepath.Join(web, "package-lock.json")); err != nil {
		return "", fmt.Errorf("cannot build the viewer: %w", err)
	}
	dist := filepath.Join(web, "dist")
	stamp := filepath.Join(web, "node_modules", ".built") // outside dist, which a build empties
	fresh, err := builtSince(web, stamp)
	if err != nil || fresh {
		return dist, err
	}
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(cache, "viewer.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if fresh, err := builtSince(web, stamp); err != nil || fresh {
		return dist, err
	}
	say("building the viewer's front end")
	start := time.Now()
	if err := run(ctx, web, nil, "npm", "ci", "--no-audit", "--no-fund"); err != nil {
		return "", fmt.Errorf("cannot build the viewer: %w", err)
	}
	if err := run(ctx, web, nil, "npm", "run", "build"); err != nil {
		return "", fmt.Errorf("cannot build the viewer: %w", err)
	}
	if _, err := os.Stat(dist); err != nil {
		return "", fmt.Errorf("cannot build the viewer: npm run build left no dist: %w", err)
	}
	// The time of the start, so that a source saved during the build counts as newer.
	if err := os.WriteFile(stamp, nil, 0o644); err != nil {
		return "", fmt.Errorf("cannot mark the build: %w", err)
	}
	if err := os.Chtimes(stamp, start, start); err != nil {
		return "", fmt.Errorf("cannot mark the build: %w", err)
	}
	say("viewer ready in %.1fs", time.Since(start).Seconds())
	return dist, nil
}

// builtSince tells whether stamp is newer than every source in web.
func builtSince(web, stamp string) (bool, error) {
	done, err := os.Stat(stamp)
	if err != nil {
		return false, nil
	}
	if _, err := os.Stat(filepath.Join(web, "dist")); err != nil {
		return false, nil
	}
	fresh := true
	err = filepath.WalkDir(web, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "node_modules" || name == "dist" {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(done.ModTime()) {
			fresh = false
			return filepath.SkipAll
		}
		return nil
	})
	return fresh, err
}
