package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/duiwu/duiwu/internal/fetch"
)

// Kubernetes is the version of the cluster; it is that of tools/go.mod.
const Kubernetes = "v1.37.2"

// packages are the programs of a cluster. No registry has them as binaries, so
// they are built from the module tools, once for each state of it.
var packages = map[string]string{
	"etcd":                    "go.etcd.io/etcd/server/v3",
	"helm":                    "helm.sh/helm/v4/cmd/helm",
	"kube-apiserver":          "k8s.io/kubernetes/cmd/kube-apiserver",
	"kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
	"kube-proxy":              "k8s.io/kubernetes/cmd/kube-proxy",
	"kube-scheduler":          "k8s.io/kubernetes/cmd/kube-scheduler",
	"kubectl":                 "k8s.io/kubernetes/cmd/kubectl",
	"kubelet":                 "k8s.io/kubernetes/cmd/kubelet",
}

// Programs are the names of all that a cluster needs.
func Programs() []string { return slices.Sorted(maps.Keys(packages)) }

// Server are those of an API server alone and of who speaks to it; they need no root.
func Server() []string { return []string{"etcd", "helm", "kube-apiserver"} }

// NotHere is why there is no cluster on this machine, or not now.
type NotHere struct{ error }

// Prepare builds and fetches what Up needs, or, where there can be no cluster, what
// an API server alone needs; the error is then a NotHere. What is there already
// costs nothing. Past the budget it stops, and the next run goes on from there.
func Prepare(ctx context.Context, tools string, budget time.Duration, say func(format string, args ...any)) error {
	names, reason := Programs(), Reason()
	if reason != "" {
		names = Server()
	}
	dir, missing, err := Cached(tools, names...)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if memory() < 6<<30 {
			return NotHere{errors.New("linking Kubernetes takes 5 GB of memory, and this machine has less than 6 free")}
		}
		limited, cancel := context.WithTimeout(ctx, budget)
		defer cancel()
		err := Build(limited, tools, dir, missing, say)
		if limited.Err() != nil && ctx.Err() == nil {
			return NotHere{fmt.Errorf("Kubernetes was not built within %s; the next run goes on where this one stopped", budget)}
		}
		if err != nil {
			return err
		}
	}
	if reason != "" {
		return NotHere{errors.New(reason)}
	}
	if _, err := runtimeTools(ctx, say); err != nil {
		return NotHere{err}
	}
	return nil
}

// memory is what the machine has to give, in bytes; plenty where it does not say.
func memory() int64 {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 1 << 62
	}
	for line := range strings.Lines(string(raw)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	return 1 << 62
}

// Cached gives the folder of the programs, and which of those asked for are not
// in it yet. The module tools lies in the folder tools.
func Cached(tools string, names ...string) (dir string, missing []string, err error) {
	cache, err := fetch.Cache()
	if err != nil {
		return "", nil, err
	}
	sum := sha256.New()
	for _, file := range []string{"go.mod", "go.sum"} {
		raw, err := os.ReadFile(filepath.Join(tools, file))
		if err != nil {
			return "", nil, fmt.Errorf("cannot read the module tools: %w", err)
		}
		sum.Write(raw)
	}
	dir = filepath.Join(cache, "kubernetes-"+hex.EncodeToString(sum.Sum(nil))[:12])
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			missing = append(missing, name)
		}
	}
	return dir, missing, nil
}

// Build builds programs into the folder that Cached gave: with one command, so that
// one is linked while others compile.
func Build(ctx context.Context, tools, dir string, names []string, say func(format string, args ...any)) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the cache: %w", err)
	}
	part, err := os.MkdirTemp(dir, "part-")
	if err != nil {
		return fmt.Errorf("cannot make a folder in the cache: %w", err)
	}
	defer os.RemoveAll(part)
	say("building %s", strings.Join(names, ", "))
	var from []string
	for _, name := range names {
		from = append(from, packages[name])
	}
	if raw, err := Compile(ctx, tools, part+"/", from...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the programs of the cluster: %w\n%s", err, raw)
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(part, executable(packages[name])), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("cannot finish %s: %w", name, err)
		}
	}
	return nil
}

// executable is the name that go gives to the program of a package.
func executable(pkg string) string {
	if version, err := path.Match("v[0-9]", path.Base(pkg)); version && err == nil {
		pkg = path.Dir(pkg)
	}
	return path.Base(pkg)
}

// Compile is the command that builds packages of the module tools into out. All are
// built alike, so that they share what was compiled.
func Compile(ctx context.Context, tools, out string, pkgs ...string) *exec.Cmd {
	version := "-X k8s.io/component-base/version.gitVersion=" + Kubernetes + " -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=" + strings.Split(Kubernetes, ".")[1]
	// Inlining and what debuggers want are a third of a compiler's work, and these
	// programs live for minutes. The standard library is in the cache as others use it.
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-gcflags=all=-dwarf=false -l", "-gcflags=std=", "-ldflags=-s -w " + version, "-o", out}, pkgs...)...)
	cmd.Dir = tools
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	// The compilers are children of go, and have to end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// debian are the packages of what is not written in Go alone, with the libraries
// that only they need. They are unpacked into the cache; nothing is installed.
var debian = []string{"containerd", "runc", "containernetworking-plugins", "iptables", "libip6tc2", "libnftnl11", "libnetfilter-conntrack3", "libnfnetlink0", "libxtables12", "libmnl0", "libseccomp2"}

// runtimeTools gives the folder into which Debian's packages are unpacked.
func runtimeTools(ctx context.Context, say func(format string, args ...any)) (string, error) {
	cache, err := fetch.Cache()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "container-runtime")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("containerd and runc come as Debian packages, and %s is not on PATH", tool)
		}
	}
	say("fetching %s", strings.Join(debian[:4], ", "))
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the cache: %w", err)
	}
	part, err := os.MkdirTemp(cache, "container-runtime.tmp-")
	if err != nil {
		return "", fmt.Errorf("cannot make a folder in the cache: %w", err)
	}
	defer os.RemoveAll(part)
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"download", "-q"}, debian...)...)
	cmd.Dir = part
	if raw, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot download the packages of the container runtime (apt-get update may help): %w\n%s", err, raw)
	}
	debs, err := filepath.Glob(filepath.Join(part, "*.deb"))
	if err != nil {
		return "", err
	}
	for _, deb := range debs {
		if raw, err := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, part).CombinedOutput(); err != nil {
			return "", fmt.Errorf("cannot unpack %s: %w\n%s", filepath.Base(deb), err, raw)
		}
		if err := os.Remove(deb); err != nil {
			return "", err
		}
	}
	// The links that Debian's alternatives would make.
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		link := filepath.Join(part, "usr/sbin", name)
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if err := os.Symlink("xtables-nft-multi", link); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(part, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(part, dir); err != nil {
		return "", fmt.Errorf("cannot finish the container runtime: %w", err)
	}
	return dir, nil
}

// environ makes programs find what was unpacked.
func environ(runtime, programs string) []string {
	lib, err := filepath.Glob(filepath.Join(runtime, "usr/lib/*-linux-gnu"))
	if err != nil || len(lib) == 0 {
		lib = []string{runtime}
	}
	inherited := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PATH=") }) // or the first would win
	return append(inherited,
		"PATH="+strings.Join([]string{programs, filepath.Join(runtime, "usr/bin"), filepath.Join(runtime, "usr/sbin"), os.Getenv("PATH")}, ":"),
		"LD_LIBRARY_PATH="+lib[0], "XTABLES_LIBDIR="+filepath.Join(lib[0], "xtables"))
}

// logTo opens a log in the folder of the cluster.
func logTo(dir, name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "logs", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open a log: %w", err)
	}
	return f, nil
}

// tail is the end of a log, for an error.
func tail(dir, name string) string {
	f, err := os.Open(filepath.Join(dir, "logs", name+".log"))
	if err != nil {
		return ""
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-2000), io.SeekStart) // else all of it
	}
	raw, _ := io.ReadAll(f) // it only decorates an error
	return string(raw)
}
