package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

// buildVersion and buildRevision are set by the linker: -X main.buildVersion=…
// The commit does not come from the Go tool (-buildvcs=false), since that also
// notes the moment and whether the folder was touched, and two builders of one
// commit would get two binaries.
var buildVersion, buildRevision string

// build is what a binary knows of itself.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Records is the revision of the code that reads records; it is part of every
	// record's version.
	Records int `json:"records"`
}

func buildInfo() build {
	b := build{Version: buildVersion, Revision: buildRevision, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Records: revision}
	info, _ := debug.ReadBuildInfo()
	if info != nil && b.Version == "" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version // go install …@v1.2.3
	}
	if b.Version == "" {
		b.Version = "dev"
	}
	if b.Revision == "" {
		b.Revision = "unknown"
	}
	return b
}

// runVersion prints what this binary was built from.
func runVersion(_ context.Context, env *environment, args []string) error {
	fs := env.flags("version", "[--json]")
	asJSON := fs.Bool("json", false, "print one JSON object")
	if _, err := env.parse(fs, args, 0, 0); err != nil {
		return err
	}
	b := buildInfo()
	if *asJSON {
		return json.NewEncoder(env.stdout).Encode(b)
	}
	fmt.Fprintf(env.stdout, "duiwu %s (revision %s, records %d, %s %s)\n", b.Version, b.Revision, b.Records, b.Go, b.Platform)
	return nil
}
