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
	"path/filepath"
	"slices"
	"strings"
	"syscall"

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

// Programs are the names of all that Build can build.
func Programs() []string { return slices.Sorted(maps.Keys(packages)) }

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

// Build builds programs into the folder that Cached gave. Small ones should come
// first: what they compile, the others need too.
func Build(ctx context.Context, tools, dir string, names []string, say func(format string, args ...any)) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the cache: %w", err)
	}
	for _, name := range names {
		say("building %s", name)
		part := filepath.Join(dir, name+".part")
		if raw, err := Compile(ctx, tools, part, packages[name]).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build %s: %w\n%s", name, err, raw)
		}
		if err := os.Rename(part, filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("cannot finish %s: %w", name, err)
		}
	}
	return nil
}

// Compile is the command that builds a package of the module tools. All are built
// alike, so that they share what was compiled.
func Compile(ctx context.Context, tools, out, pkg string) *exec.Cmd {
	version := "-X k8s.io/component-base/version.gitVersion=" + Kubernetes + " -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=" + strings.Split(Kubernetes, ".")[1]
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w "+version, "-o", out, pkg)
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
