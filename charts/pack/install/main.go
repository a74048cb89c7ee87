// Command install puts the plugin that lies beside it in its image into a Grafana's
// folder of plugins:
//
//	install /var/lib/grafana/plugins
//
// It is the entrypoint of the plugin's image, for an init container: that image
// has no shell and no cp.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if err := run("/plugin", os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1)
	}
}

// run copies the plugin that is the one folder of from.
func run(from string, args []string, stdout io.Writer) error {
	if len(args) != 1 {
		return errors.New("want one argument, Grafana's folder of plugins, such as /var/lib/grafana/plugins")
	}
	found, err := filepath.Glob(filepath.Join(from, "*", "plugin.json"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("cannot find the plugin: %d folders in %s hold a plugin.json, want one", len(found), from)
	}
	raw, err := os.ReadFile(found[0])
	if err != nil {
		return fmt.Errorf("cannot read the plugin: %w", err)
	}
	var about struct {
		ID   string
		Info struct{ Version string }
	}
	if err := json.Unmarshal(raw, &about); err != nil || about.ID == "" {
		return fmt.Errorf("cannot read %s: it names no plugin", found[0])
	}
	to := filepath.Join(args[0], about.ID)
	// Grafana starts after this has ended, but one that is killed between must
	// leave no half of a plugin: Grafana would not start with it.
	part, err := os.MkdirTemp(args[0], "."+about.ID+"-")
	if err != nil {
		return fmt.Errorf("cannot write to Grafana's folder of plugins: %w", err)
	}
	defer os.RemoveAll(part)
	fresh, old := filepath.Join(part, "new"), filepath.Join(part, "old")
	if err := os.CopyFS(fresh, os.DirFS(filepath.Dir(found[0]))); err != nil {
		return fmt.Errorf("cannot copy the plugin: %w", err)
	}
	if err := os.Rename(to, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot take the old plugin away: %w", err)
	}
	if err := os.Rename(fresh, to); err != nil {
		return fmt.Errorf("cannot finish the plugin: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "%s %s is in %s\n", about.ID, about.Info.Version, to)
	return err
}
