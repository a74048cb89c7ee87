package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// insideKey makes this executable become the first process of a cluster's
// namespaces.
const insideKey = "DUIWU_CLUSTER_INSIDE"

// Main takes the process over when Up started it as the first process of a
// cluster, and then never returns. Call it first thing in main.
func Main() {
	raw, ok := os.LookupEnv(insideKey)
	if !ok {
		return
	}
	os.Unsetenv(insideKey)
	var c config
	err := json.Unmarshal([]byte(raw), &c)
	if err == nil {
		err = c.inside()
	}
	fmt.Fprintln(os.Stderr, "cluster:", err)
	os.Exit(1)
}

// config is what the first process has to know.
type config struct{ Dir, Programs, Runtime string }

// component is one program of the cluster.
type component struct {
	name string
	args []string
}

// inside runs the cluster: it is process 1 of a process namespace, so that all
// ends with it, and its mounts and its network are its own.
func (c config) inside() error {
	if err := c.mount(); err != nil {
		return err
	}
	if err := waitForUplink(); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("cannot switch forwarding on: %w", err)
	}
	api, err := newClient(c.Dir)
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp4", net.JoinHostPort(nodeIP, "53"))
	if err != nil {
		return fmt.Errorf("cannot listen for questions for names: %w", err)
	}
	go func() {
		fmt.Fprintln(os.Stderr, serveNames(context.Background(), api, conn))
		os.Exit(1)
	}()
	running := map[int]component{}
	for _, p := range c.components() {
		if err := c.start(p, running); err != nil {
			return err
		}
	}
	// Whatever ends is taken in here, orphans of the containers among it, and a
	// component begins again: some come up before those that they need.
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil {
			continue // interrupted; there is always a child
		}
		p, ok := running[pid]
		if !ok {
			continue
		}
		delete(running, pid)
		fmt.Fprintf(os.Stderr, "%s ended with status %d, starting it again\n", p.name, status.ExitStatus())
		time.Sleep(time.Second)
		if err := c.start(p, running); err != nil {
			return err
		}
	}
}

// start uses no exec.Cmd: its Wait and the one for orphans would take each
// other's children.
func (c config) start(p component, running map[int]component) error {
	path := filepath.Join(c.Programs, p.name)
	if _, err := os.Stat(path); err != nil {
		path = filepath.Join(c.Runtime, "usr/bin", p.name)
	}
	log, err := logTo(c.Dir, p.name)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	proc, err := os.StartProcess(path, append([]string{p.name}, p.args...), &os.ProcAttr{Env: environ(c.Runtime, c.Programs), Files: []*os.File{null, log, log}})
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", p.name, err)
	}
	running[proc.Pid] = p
	return proc.Release()
}

// mount gives the cluster folders of its own where programs write to fixed
// places: what they leave there is gone with the namespace, or lies in Dir.
func (c config) mount() error {
	for _, dir := range []string{"var", "var.work"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE, ""}, // nothing gets out
		{"proc", "/proc", "proc", 0, ""},
		{"tmpfs", "/run", "tmpfs", 0, "mode=755"},
		{"overlay", "/var", "overlay", 0, fmt.Sprintf("lowerdir=/var,upperdir=%s,workdir=%s", filepath.Join(c.Dir, "var"), filepath.Join(c.Dir, "var.work"))},
		{"", "/", "", syscall.MS_REC | syscall.MS_SHARED, ""}, // volumes reach containers that run already
	} {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("cannot mount %s %s: %w", m.kind, m.target, err)
		}
	}
	return nil
}

// waitForUplink returns when the address of the node is there.
func waitForUplink() error {
	for range 200 {
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return fmt.Errorf("cannot list addresses: %w", err)
		}
		for _, a := range addrs {
			if strings.HasPrefix(a.String(), nodeIP+"/") {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the address %s did not come up", nodeIP)
}

// components are in the order in which they begin.
func (c config) components() []component {
	file := func(parts ...string) string { return filepath.Join(append([]string{c.Dir}, parts...)...) }
	pki := func(name string) string { return file("pki", name) }
	etcd, peer := "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	return []component{
		{"etcd", []string{"--data-dir", file("etcd"), "--unsafe-no-fsync", "--log-level=error",
			"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer}},
		{"kube-apiserver", []string{"--etcd-servers=" + etcd, "--advertise-address=" + nodeIP, "--secure-port=6443",
			"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"), "--client-ca-file=" + pki("ca.crt"),
			"--kubelet-client-certificate=" + pki("admin.crt"), "--kubelet-client-key=" + pki("admin.key"), "--kubelet-certificate-authority=" + pki("ca.crt"),
			"--kubelet-preferred-address-types=InternalIP", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
			"--service-cluster-ip-range=" + services, "--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + pki("accounts.key"), "--service-account-signing-key-file=" + pki("accounts.key")}},
		{"kube-controller-manager", []string{"--kubeconfig=" + pki("kube-controller-manager.kubeconfig"), "--leader-elect=false", "--use-service-account-credentials",
			"--service-account-private-key-file=" + pki("accounts.key"), "--root-ca-file=" + pki("ca.crt"), "--cluster-cidr=" + pods, "--allocate-node-cidrs"}},
		{"kube-scheduler", []string{"--kubeconfig=" + pki("kube-scheduler.kubeconfig"), "--leader-elect=false"}},
		{"containerd", []string{"--config", file("containerd.toml")}},
		{"kubelet", []string{"--config", file("kubelet.json"), "--kubeconfig=" + pki("kubelet.kubeconfig"), "--hostname-override=" + node, "--node-ip=" + nodeIP,
			"--root-dir", file("kubelet"), "--cert-dir", file("kubelet", "pki")}},
		{"kube-proxy", []string{"--config", file("kube-proxy.json"), "--hostname-override=" + node}},
	}
}

// enter is a command inside the namespaces of the cluster's first process.
func enter(ctx context.Context, pid int, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--target", fmt.Sprint(pid), "--mount", "--net", "--pid", "--"}, args...)...)
}
