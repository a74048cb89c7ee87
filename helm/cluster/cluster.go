// Package cluster brings up a real Kubernetes cluster of one node on a Linux
// machine, and takes it away again: API server, controller manager, scheduler,
// kubelet, kube-proxy, containerd and the names of services, all below one process
// that is process 1 of its own process, mount and network namespaces. When that
// one is killed, the kernel ends the others and drops their mounts and network.
//
// One link leads in, so that kubectl, helm and a browser on the machine reach the
// node. There is no way out: images are imported, not pulled.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	node     = "duiwu"
	nodeIP   = "198.18.0.2" // of the range that is for tests of networks
	hostIP   = "198.18.0.1"
	pods     = "10.244.0.0/16"
	services = "10.96.0.0/16"
	server   = "https://" + nodeIP + ":6443"
	hostLink = "duiwu-cluster"
	uplink   = "uplink"
	cgroup   = "duiwu-cluster"
)

// Reason says why this machine cannot have a cluster; empty when it can, as far as
// can be seen before trying.
func Reason() string {
	if os.Geteuid() != 0 {
		return "a kubelet needs root: namespaces, cgroups and mounts are made"
	}
	for _, tool := range []string{"ip", "nsenter", "dpkg-deb", "apt-get"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not on PATH (Debian: iproute2, util-linux, apt)"
		}
	}
	if _, err := net.InterfaceByName(hostLink); err == nil {
		return "a cluster is up on this machine, and there can be one (make cluster-down)"
	}
	if len(hierarchies()) == 0 {
		return "no cgroups are mounted below /sys/fs/cgroup"
	}
	test := filepath.Join(hierarchies()[0], cgroup+"-test")
	if err := os.Mkdir(test, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "cgroups cannot be made: " + err.Error()
	}
	_ = os.Remove(test)
	return ""
}

// hierarchies are the mounted trees of cgroups: several of version 1, or one of
// version 2.
func hierarchies() []string {
	const top = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(top, "cgroup.controllers")); err == nil {
		return []string{top}
	}
	var out []string
	all, _ := filepath.Glob(top + "/*") // none is an answer
	for _, dir := range all {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			out = append(out, dir)
		}
	}
	return out
}

// state is what Down has to know.
type state struct {
	PID   int
	Start string // of the process, so that another with its number is not taken for it
	config
}

// Up brings the cluster up in dir, which must not exist, with the module tools in
// the folder tools, and returns when its node is ready.
func Up(ctx context.Context, tools, dir string, say func(format string, args ...any)) (err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("cannot bring a cluster up in %s: there is one, or what one left (make cluster-down)", dir)
	}
	if err := Prepare(ctx, tools, time.Hour, say); err != nil {
		return fmt.Errorf("no cluster here: %w", err)
	}
	programs, _, err := Cached(tools)
	if err != nil {
		return err
	}
	runtime, err := runtimeTools(ctx, say) // it is there
	if err != nil {
		return err
	}
	began := time.Now()
	c := config{dir, programs, runtime}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w\n%s", err, tail(dir, "cluster")), Down(dir))
		}
	}()
	if err := c.write(); err != nil {
		return err
	}
	if err := makeCgroups(); err != nil {
		return err
	}
	s, err := c.spawn()
	if err != nil {
		return err
	}
	if err := link(ctx, s.PID); err != nil {
		return err
	}
	say("waiting for the API server")
	api, err := newClient(dir)
	if err != nil {
		return err
	}
	if err := eventually(ctx, 2*time.Minute, func() error { return api.get(ctx, "/readyz", nil) }); err != nil {
		return fmt.Errorf("the API server does not get ready: %w\n%s", err, tail(dir, "kube-apiserver"))
	}
	// The program that makes images changes more often than the rest, and is quickly built.
	if raw, err := Compile(ctx, tools, filepath.Join(dir, "image"), "./image").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the maker of images: %w\n%s", err, raw)
	}
	pause := filepath.Join(dir, "pause")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", pause, "github.com/duiwu/duiwu/helm/cluster/pause")
	build.Dir, build.Env = tools+"/..", append(os.Environ(), "CGO_ENABLED=0")
	if raw, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build pause: %w\n%s", err, raw)
	}
	if err := Import(ctx, dir, "localhost/pause:1", pause+":/pause"); err != nil {
		return err
	}
	say("waiting for the node")
	kubectl := func(args ...string) error { return Kubectl(ctx, dir, nil, args...) }
	if err := eventually(ctx, time.Minute, func() error { return kubectl("get", "node", node) }); err != nil {
		return fmt.Errorf("no node: %w\n%s", err, tail(dir, "kubelet"))
	}
	if err := kubectl("wait", "--for=condition=Ready", "--timeout=90s", "node/"+node); err != nil {
		return fmt.Errorf("the node does not get ready: %w\n%s", err, tail(dir, "kubelet"))
	}
	if err := Kubectl(ctx, dir, c.volumes(), "apply", "-f", "-"); err != nil {
		return err
	}
	say("the cluster is up after %.0fs; its logs are in %s", time.Since(began).Seconds(), filepath.Join(dir, "logs"))
	return nil
}

// eventually asks until it goes well.
func eventually(ctx context.Context, most time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// write writes all that the components read.
func (c config) write() error {
	for _, dir := range []string{"logs", "pki", "cni", "volumes", "kubelet/pki"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, dir), 0o755); err != nil {
			return fmt.Errorf("cannot make the cluster's folder: %w", err)
		}
	}
	pki := filepath.Join(c.Dir, "pki")
	ca, err := newAuthority(pki)
	if err != nil {
		return err
	}
	for _, u := range []struct{ name, who, group string }{
		{"admin", "admin", "system:masters"},
		{"kube-controller-manager", "system:kube-controller-manager", ""},
		{"kube-scheduler", "system:kube-scheduler", ""},
		{"kube-proxy", "system:kube-proxy", ""},
		{"kubelet", "system:node:" + node, "system:nodes"},
		{"apiserver", "kube-apiserver", ""},
		{"accounts", "accounts", ""}, // its key signs the tokens of service accounts
	} {
		if err := errors.Join(ca.issue(u.name, u.who, u.group, net.ParseIP(nodeIP), net.ParseIP("127.0.0.1"), net.ParseIP("10.96.0.1")), ca.kubeconfig(u.name, server)); err != nil {
			return err
		}
	}
	file := func(parts ...string) string { return filepath.Join(append([]string{c.Dir}, parts...)...) }
	for i := range claims {
		// What a pod's group may write is not said for folders of the node.
		if err := errors.Join(os.Mkdir(c.volume(i), 0o777), os.Chmod(c.volume(i), 0o777)); err != nil {
			return fmt.Errorf("cannot make a volume: %w", err)
		}
	}
	for name, content := range map[string]any{
		"kubelet.json": map[string]any{
			"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
			"authentication": map[string]any{"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true}, "x509": map[string]any{"clientCAFile": file("pki", "ca.crt")}},
			"authorization":  map[string]any{"mode": "Webhook"},
			"tlsCertFile":    file("pki", "kubelet.crt"), "tlsPrivateKeyFile": file("pki", "kubelet.key"),
			"containerRuntimeEndpoint": "unix://" + containerdSocket,
			"cgroupDriver":             "cgroupfs", "cgroupRoot": "/" + cgroup, "failCgroupV1": false, "failSwapOn": false,
			"clusterDNS": []any{nodeIP}, "clusterDomain": "cluster.local", "resolvConf": "",
			"podLogsDir": file("logs", "pods"), "volumePluginDir": file("kubelet", "plugins"),
			"oomScoreAdj": 0, "shutdownGracePeriod": "0s",
			"evictionHard": map[string]any{"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"}, "imageGCHighThresholdPercent": 100,
		},
		"kube-proxy.json": map[string]any{
			"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables",
			"clientConnection": map[string]any{"kubeconfig": file("pki", "kube-proxy.kubeconfig")},
			"clusterCIDR":      pods, "oomScoreAdj": 0,
			"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
		},
		// Each pod has a link of its own, so that all between two pods of a service
		// passes the node's tables.
		"cni/10-pods.conflist": map[string]any{
			"cniVersion": "0.4.0", "name": "pods",
			"plugins": []any{map[string]any{"type": "ptp", "ipMasq": false, "ipam": map[string]any{
				"type": "host-local", "dataDir": file("cni", "addresses"), "ranges": []any{[]any{map[string]any{"subnet": "10.244.0.0/24"}}}, "routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
			}}},
		},
	} {
		raw, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(file(name), raw, 0o644); err != nil {
			return fmt.Errorf("cannot write %s: %w", name, err)
		}
	}
	return os.WriteFile(file("containerd.toml"), fmt.Appendf(nil, `version = 2
root = %q
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # Root without CAP_SYS_RESOURCE may not lower a score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = %q
`, file("containerd"), containerdSocket, file("containerd", "opt"), filepath.Join(c.Runtime, "usr/lib/cni"), file("cni"), filepath.Join(c.Runtime, "usr/sbin/runc")), 0o644)
}

const containerdSocket = "/run/containerd/containerd.sock"

// claims is how many volumes there are.
const claims = 8

func (c config) volume(i int) string { return filepath.Join(c.Dir, "volumes", fmt.Sprint(i)) }

// volumes are folders of the node that a claim can have, since nothing here makes
// volumes when they are asked for.
func (c config) volumes() []byte {
	var out bytes.Buffer
	out.WriteString(`{"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "node", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}` + "\n")
	for i := range claims {
		fmt.Fprintf(&out, "---\n"+`{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "node-%d"}, "spec": {"capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "node", "hostPath": {"path": %q}}}`+"\n", i, c.volume(i))
	}
	return out.Bytes()
}

// spawn starts the first process of the namespaces.
func (c config) spawn() (state, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return state{}, err
	}
	log, err := logTo(c.Dir, "cluster")
	if err != nil {
		return state{}, err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"duiwu-cluster"}
	cmd.Env = append(os.Environ(), insideKey+"="+string(raw))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		return state{}, fmt.Errorf("cannot make namespaces: %w", err)
	}
	s := state{PID: cmd.Process.Pid, Start: startOf(cmd.Process.Pid), config: c}
	go func() { _ = cmd.Wait() }() // its log says how it ended
	if raw, err = json.Marshal(s); err != nil {
		return s, err
	}
	return s, os.WriteFile(filepath.Join(c.Dir, "state.json"), raw, 0o644)
}

// startOf is when a process began, in the kernel's own words; empty when there is none.
func startOf(pid int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The name, in brackets, may hold anything.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// link leads from the machine into the cluster.
func link(ctx context.Context, pid int) error {
	into := []string{"nsenter", "--target", fmt.Sprint(pid), "--net", "--"}
	for _, args := range [][]string{
		{"ip", "link", "add", hostLink, "type", "veth", "peer", "name", uplink, "netns", fmt.Sprint(pid)},
		{"ip", "address", "add", hostIP + "/30", "dev", hostLink},
		{"ip", "link", "set", hostLink, "up"},
		append(slices.Clone(into), "ip", "link", "set", "lo", "up"),
		append(slices.Clone(into), "ip", "link", "set", uplink, "up"),
		append(slices.Clone(into), "ip", "address", "add", nodeIP+"/30", "dev", uplink),
		append(slices.Clone(into), "ip", "route", "add", "default", "via", hostIP),
		// What no service has taken is told so; swallowed, a dialler would wait for minutes.
		append(slices.Clone(into), "ip", "route", "add", "unreachable", services),
	} {
		if raw, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot lay the link to the cluster: %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(raw))
		}
	}
	return nil
}

func makeCgroups() error {
	for _, top := range hierarchies() {
		dir := filepath.Join(top, cgroup)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make a cgroup: %w", err)
		}
		// Version 1 gives a new set of processors none.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if raw, err := os.ReadFile(filepath.Join(top, file)); err == nil {
				if err := os.WriteFile(filepath.Join(dir, file), raw, 0o644); err != nil {
					return fmt.Errorf("cannot give a cgroup its processors: %w", err)
				}
			}
		}
	}
	return nil
}

// find gives the state of the cluster in dir.
func find(dir string) (state, error) {
	var s state
	raw, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return s, fmt.Errorf("no cluster in %s (make cluster): %w", dir, err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("cannot read the state of the cluster: %w", err)
	}
	if s.Start == "" || startOf(s.PID) != s.Start {
		return s, fmt.Errorf("the cluster in %s has ended (make cluster-down)", dir)
	}
	return s, nil
}

// Down ends the cluster in dir and removes all of it; no cluster is no error.
func Down(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if s, err := find(dir); err == nil {
		if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
			return fmt.Errorf("cannot end the cluster: %w", err)
		}
		if err := eventually(context.Background(), time.Minute, func() error {
			if startOf(s.PID) == s.Start {
				return errors.New("the cluster does not end")
			}
			return nil
		}); err != nil {
			return err
		}
	}
	// The kernel drops the network some time after the last process.
	if _, err := net.InterfaceByName(hostLink); err == nil {
		_ = exec.Command("ip", "link", "delete", hostLink).Run() // it may be gone by now
	}
	for _, top := range hierarchies() {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(top, cgroup), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		slices.Reverse(dirs) // what is inside first
		for _, d := range dirs {
			// A cgroup stays busy for a moment after its last process.
			if err := eventually(context.Background(), 10*time.Second, func() error { return syscall.Rmdir(d) }); err != nil {
				return fmt.Errorf("cannot remove the cgroup %s: %w", d, err)
			}
		}
	}
	if err := eventually(context.Background(), 10*time.Second, func() error { return os.RemoveAll(dir) }); err != nil {
		return fmt.Errorf("cannot remove what the cluster left: %w", err)
	}
	return nil
}

// Kubeconfig is the file of the cluster's administrator.
func Kubeconfig(dir string) string { return filepath.Join(dir, "pki", "admin.kubeconfig") }

// Program is the path of a program of the cluster in dir.
func Program(dir, name string) (string, error) {
	s, err := find(dir)
	return filepath.Join(s.Programs, name), err
}

// Kubectl runs a kubectl command; its output is in the error.
func Kubectl(ctx context.Context, dir string, stdin []byte, args ...string) error {
	kubectl, err := Program(dir, "kubectl")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, kubectl, append([]string{"--kubeconfig", Kubeconfig(dir)}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	if raw, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(raw))
	}
	return nil
}

// Import gives the node an image of files, each SOURCE:TARGET; the first is the
// entrypoint. Nothing else is in it.
func Import(ctx context.Context, dir, ref string, files ...string) error {
	s, err := find(dir)
	if err != nil {
		return err
	}
	tar := filepath.Join(s.Dir, "image.tar")
	defer os.Remove(tar)
	args := append([]string{"pack", "-o", tar, ref}, files...)
	if raw, err := exec.CommandContext(ctx, filepath.Join(s.Dir, "image"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make the image %s: %w\n%s", ref, err, raw)
	}
	return s.load(ctx, tar)
}

// Load gives the node the images of an archive.
func Load(ctx context.Context, dir, tar string) error {
	s, err := find(dir)
	if err != nil {
		return err
	}
	if tar, err = filepath.Abs(tar); err != nil {
		return err
	}
	return s.load(ctx, tar)
}

// LoadLayout gives the node the image of this machine's platform in an OCI layout
// of released images, under a name.
func LoadLayout(ctx context.Context, dir, layout, ref string) error {
	s, err := find(dir)
	if err != nil {
		return err
	}
	tar := filepath.Join(s.Dir, "image.tar")
	defer os.Remove(tar)
	if raw, err := exec.CommandContext(ctx, filepath.Join(s.Dir, "image"), "archive", "-o", tar, ref, layout).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make an archive of %s: %w\n%s", layout, err, raw)
	}
	return s.load(ctx, tar)
}

func (s state) load(ctx context.Context, tar string) error {
	return eventually(ctx, time.Minute, func() error { // containerd may be on its way up
		cmd := enter(ctx, s.PID, filepath.Join(s.Runtime, "usr/bin/ctr"), "--address", containerdSocket, "--namespace", "k8s.io", "images", "import", tar)
		if raw, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot import the image: %w\n%s\n%s", err, raw, tail(s.Dir, "containerd"))
		}
		return nil
	})
}
