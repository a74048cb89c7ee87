package fetch

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// PluginModules installs what the front end of the Grafana plugin is built, typed
// and tested with, and gives its folder, charts. It installs again only when the
// lock file is newer than the last time.
func PluginModules(ctx context.Context) (string, error) {
	root, err := repoRoot()
	if err != nil {
		return "", err
	}
	return pluginModules(ctx, filepath.Join(root, "charts"))
}

func pluginModules(ctx context.Context, charts string) (string, error) {
	lockfile, stamp := filepath.Join(charts, "package-lock.json"), filepath.Join(charts, "node_modules", ".installed")
	want, err := os.Stat(lockfile)
	if err != nil {
		return "", fmt.Errorf("cannot install the plugin's packages: %w", err)
	}
	fresh := func() bool {
		have, err := os.Stat(stamp)
		return err == nil && !have.ModTime().Before(want.ModTime())
	}
	if fresh() {
		return charts, nil
	}
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(cache, "plugin.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if fresh() { // another process installed while this one waited
		return charts, nil
	}
	say("installing the packages of the Grafana plugin's front end (450 MB)")
	start := time.Now()
	// Grafana's packages name peers that only its own build needs, and bring
	// install scripts for them.
	if err := run(ctx, charts, nil, "npm", "ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund"); err != nil {
		return "", fmt.Errorf("cannot install the plugin's packages: %w", err)
	}
	if err := os.WriteFile(stamp, nil, 0o644); err != nil {
		return "", fmt.Errorf("cannot mark the installation: %w", err)
	}
	say("plugin packages ready in %.1fs", time.Since(start).Seconds())
	return charts, nil
}

// Plugin builds the front end of the Grafana plugin and gives its dist folder:
// all of the plugin but the backend. It takes two seconds and is done each time.
func Plugin(ctx context.Context, dist string) error {
	charts, err := PluginModules(ctx)
	if err != nil {
		return err
	}
	if err := run(ctx, charts, []string{"PLUGIN_DIST=" + dist}, "npm", "run", "build"); err != nil {
		return fmt.Errorf("cannot build the plugin's front end: %w", err)
	}
	if _, err := fs.Stat(os.DirFS(dist), "module.js"); err != nil {
		return fmt.Errorf("cannot build the plugin's front end: npm run build left no module.js: %w", err)
	}
	return nil
}

// PluginScript runs a script of the plugin's package.json, such as test or check.
func PluginScript(ctx context.Context, name string) error {
	charts, err := PluginModules(ctx)
	if err != nil {
		return err
	}
	return run(ctx, charts, []string{"CI=1"}, "npm", "run", name)
}
