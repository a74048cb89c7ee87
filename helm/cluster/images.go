package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/duiwu/duiwu/internal/fetch"
)

// Servers is the version of the image of the servers for trying out, as
// helm/duiwu/ci/all-in-one-values.yaml asks for it.
const Servers = "0.1.0"

// LoadProject builds the project's images from the source in root and gives them to
// the node, under the names and the version that its chart asks for.
func LoadProject(ctx context.Context, root, dir string, say func(format string, args ...any)) error {
	var chart struct {
		AppVersion string `yaml:"appVersion"`
	}
	var values struct {
		Image struct{ Registry, Repository string }
	}
	for file, into := range map[string]any{"Chart.yaml": &chart, "values.yaml": &values} {
		raw, err := os.ReadFile(filepath.Join(root, "helm/duiwu", file))
		if err == nil {
			err = yaml.Unmarshal(raw, into)
		}
		if err != nil {
			return fmt.Errorf("cannot read what images the chart asks for: %w", err)
		}
	}
	name := values.Image.Registry + "/" + values.Image.Repository
	say("building %s:%s and %s-servers:%s", name, chart.AppVersion, name, Servers)
	if err := LoadProgram(ctx, root, dir, name+":"+chart.AppVersion, chart.AppVersion); err != nil {
		return err
	}
	return LoadServers(ctx, root, dir, name+"-servers:"+Servers)
}

// LoadProgram gives the node the image of the program, which says that it is of a version.
func LoadProgram(ctx context.Context, root, dir, ref, version string) error {
	program, remove, err := compile(ctx, root, "./cmd/duiwu", "-X main.buildVersion="+version)
	if err != nil {
		return err
	}
	defer remove()
	return Import(ctx, dir, ref, program+":/ko-app/duiwu")
}

// LoadServers gives the node the image of the servers for trying out, with the C
// library of this machine, under a name.
func LoadServers(ctx context.Context, root, dir, ref string) error {
	library, err := fetch.LibCHDB(ctx)
	if err != nil {
		return err
	}
	demo, remove, err := compile(ctx, root, "./cmd/demo", "")
	if err != nil {
		return err
	}
	defer remove()
	const loader = "/lib64/ld-linux-x86-64.so.2"
	real, err := filepath.EvalSymlinks(loader)
	if err != nil {
		return fmt.Errorf("the database needs the C library of linux/amd64: %w", err)
	}
	files := []string{demo + ":/opt/duiwu/demo", library + ":/opt/duiwu/libchdb.so", loader + ":" + loader}
	for _, name := range []string{"libc.so.6", "libpthread.so.0", "libm.so.6", "librt.so.1", "libdl.so.2"} {
		files = append(files, filepath.Join(filepath.Dir(real), name)+":/lib/x86_64-linux-gnu/"+name)
	}
	return Import(ctx, dir, ref, files...)
}

// compile builds a program of the project; remove takes it away.
func compile(ctx context.Context, root, pkg, ldflags string) (program string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "duiwu-image-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) } // it is temporary anyway
	program = filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags="+strings.TrimSpace("-s -w "+ldflags), "-o", program, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if raw, err := cmd.CombinedOutput(); err != nil {
		remove()
		return "", nil, fmt.Errorf("cannot build %s: %w\n%s", pkg, err, raw)
	}
	return program, remove, nil
}
