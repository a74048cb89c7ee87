package helm

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/charts/pkg/scope"
	"github.com/duiwu/duiwu/cmd/demo/generate"
	"github.com/duiwu/duiwu/helm/cluster"
)

// node is a real cluster, and a namespace of it.
type node struct {
	t              *testing.T
	dir, namespace string
}

// run runs a program of the cluster and gives its output.
func (n *node) try(name string, args ...string) (string, error) {
	n.t.Helper()
	program, err := cluster.Program(n.dir, name)
	require.NoError(n.t, err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.t.Context()), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"--namespace", n.namespace}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig(n.dir))
	raw, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(raw)), err
}

func (n *node) run(name string, args ...string) string {
	n.t.Helper()
	begun := time.Now()
	out, err := n.try(name, args...)
	require.NoError(n.t, err, "%s %s\n%s", name, strings.Join(args, " "), out)
	if name == "helm" {
		n.t.Logf("%5.1fs helm %s", time.Since(begun).Seconds(), args[0])
	}
	return out
}

// first is the chart of the first release as it was packed, with the values for
// trying it out that lay beside it: what a release is upgraded from.
const (
	first       = "testdata/duiwu-0.1.0.tgz"
	firstValues = "testdata/duiwu-0.1.0-all-in-one-values.yaml"
)

// about is what Chart.yaml says.
type about struct {
	Version    string
	AppVersion string `yaml:"appVersion"`
}

func chartOf(t *testing.T, file string) (out about) {
	t.Helper()
	readYAML(t, file, &out)
	return out
}

// TestTheFirstChartIsOlder: an upgrade from a chart to itself would prove nothing.
func TestTheFirstChartIsOlder(t *testing.T) {
	raw, err := exec.Command("tar", "-xzOf", first, "duiwu/Chart.yaml").Output()
	require.NoError(t, err)
	var was about
	require.NoError(t, yaml.Unmarshal(raw, &was))
	require.Equal(t, about{"0.1.0", "0.1.0"}, was)
	is := chartOf(t, "duiwu/Chart.yaml")
	require.NotEqual(t, was.Version, is.Version)
	require.Equal(t, is.Version, is.AppVersion, "the chart and the program are released together")
	// The servers for trying out have a version of their own, said in three places.
	for file, text := range map[string]string{allInOne: `"tag" "` + cluster.Servers + `"`, "../Containerfile.servers": "duiwu-servers:" + cluster.Servers + " "} {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Contains(t, string(raw), text, file)
	}
}

// TestOnACluster is the life of a release on a real node, with the project's own
// images in a namespace under the restricted policy: records flow while a worker is
// killed, while the release is upgraded and while it is rolled back, and in the end
// every table holds what was planted.
func TestOnACluster(t *testing.T) {
	dir := os.Getenv("DUIWU_CLUSTER")
	if dir == "" {
		t.Skip("no cluster: make cluster-test brings one up and runs this (about 4 minutes; root, Debian)")
	}
	n := &node{t, dir, "release"}
	const registry, repository = "duiwu.test", "duiwu/duiwu"
	for _, version := range []string{"first", "second"} {
		require.NoError(t, cluster.LoadProgram(t.Context(), "..", dir, registry+"/"+repository+":"+version, version))
	}
	servers := registry + "/" + repository + "-servers:" + cluster.Servers
	require.NoError(t, cluster.LoadServers(t.Context(), "..", dir, servers))

	_, _ = n.try("kubectl", "delete", "namespace", n.namespace, "--ignore-not-found", "--wait") // of a run that was stopped
	n.run("kubectl", "create", "namespace", n.namespace)
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"get", "pods", "-o", "wide"}, {"get", "events"}, {"logs", "statefulset/duiwu-servers", "--tail=30"}, {"logs", "deployment/duiwu-worker", "--tail=30"}, {"logs", "job/flow", "--tail=30"}} {
				out, _ := n.try("kubectl", args...)
				t.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
			}
		}
		_, _ = n.try("kubectl", "delete", "namespace", n.namespace, "--wait=false")
	})
	n.run("kubectl", "label", "namespace", n.namespace, "pod-security.kubernetes.io/enforce=restricted")
	const password = "evaluation"
	n.run("kubectl", "create", "secret", "generic", "duiwu-clickhouse", "--from-literal=dsn=http://admin:"+password+"@duiwu-servers:8123/duiwu")
	n.run("kubectl", "create", "secret", "generic", "duiwu-keys", "--from-literal=token-keys="+strings.Repeat("01", 32)+"\n", "--from-literal=hash-key="+strings.Repeat("02", 16)+"\n")

	try := func(verb, chart, values, version string, more ...string) (string, error) {
		t.Helper()
		begun := time.Now()
		out, err := n.try("helm", append([]string{verb, "duiwu", chart, "--values", values, "--wait", "--timeout", "5m",
			"--set", "image.registry=" + registry + ",image.repository=" + repository + ",image.tag=" + version + ",image.pullPolicy=Never",
			"--set", "worker.replicas=2,worker.session=6s,worker.rebalance=6s,worker.extraArgs[0]=--clock=" + generate.Today.Format(time.RFC3339)}, more...)...)
		t.Logf("%5.1fs helm %s %s", time.Since(begun).Seconds(), verb, chart)
		return out, err
	}
	release := func(verb, chart, values, version string, more ...string) {
		t.Helper()
		out, err := try(verb, chart, values, version, more...)
		require.NoError(t, err, out)
	}
	// The program is today's, which wants TLS unless it is told; that of 0.1.0 did not.
	release("install", first, firstValues, "first", "--set-string", "worker.extraEnv[0].name=DUIWU_KAFKA_TLS,worker.extraEnv[0].value=false")

	// Feed files of one's own with a slip in them fail the upgrade before any pod
	// changes; whole ones go in with it. The migration is a hook now that there is
	// a database before the release.
	own := func(change func(files map[string]string)) []string {
		t.Helper()
		files := feedFiles(t)
		change(files)
		raw, err := yaml.Marshal(map[string]any{"feeds": map[string]any{"files": files}, "migrate": map[string]any{"when": "hook", "backoffLimit": 0}})
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "values.yaml")
		require.NoError(t, os.WriteFile(file, raw, 0o600))
		return []string{"--values", file}
	}
	workers := func() string {
		t.Helper()
		return n.run("kubectl", "get", "deployment/duiwu-worker", "--output", "jsonpath={.metadata.generation} {.spec.template.spec.containers[0].image}")
	}
	was := workers()
	out, err := try("upgrade", "duiwu", allInOne, "second", own(func(files map[string]string) {
		files["org.yaml"] = strings.Replace(files["org.yaml"], "feed:", "fed:", 1)
	})...)
	require.Error(t, err, "bad feed files went in\n%s", out)
	require.Contains(t, n.run("kubectl", "logs", "job/duiwu-migrate", "--container", "check-feeds"), "org.yaml")
	require.Equal(t, was, workers(), "an upgrade that fails must change no worker")

	database := n.forward("service/duiwu-servers", "8123")
	dsn := "http://admin:" + password + "@" + database + "/duiwu"
	ds, err := plugin.Open(plugin.Config{URL: dsn, Today: generate.Today.Format(time.DateOnly), Scope: scope.Everything()})
	require.NoError(t, err)
	t.Cleanup(ds.Dispose)

	n.apply(flow(servers))
	received := func() int64 { return received(t, dsn) }
	more := func(than int64, most time.Duration) bool {
		for begun := time.Now(); time.Since(begun) < most; time.Sleep(200 * time.Millisecond) {
			if received() > than {
				return true
			}
		}
		return false
	}
	require.True(t, more(0, 2*time.Minute), "no record arrives")
	killed := received()
	n.run("kubectl", "delete", "pod", "--selector", "app.kubernetes.io/component=worker", "--grace-period=0", "--force")
	require.True(t, more(killed, 2*time.Minute), "records do not go on after %d", killed)
	n.run("kubectl", "rollout", "status", "deployment/duiwu-worker", "--timeout=3m")

	before := received()
	release("upgrade", "duiwu", allInOne, "second", own(func(map[string]string) {})...)
	require.Contains(t, n.run("kubectl", "exec", "deployment/duiwu-worker", "--", "/ko-app/duiwu", "version"), "second")
	require.Greater(t, received(), before, "nothing flowed while the release was upgraded")
	before = received()
	flowing := more(before, 5*time.Second)
	before = received()
	n.run("helm", "rollback", "duiwu", "1", "--wait", "--timeout", "5m")
	require.Contains(t, n.run("kubectl", "exec", "deployment/duiwu-worker", "--", "/ko-app/duiwu", "version"), "first")
	if flowing {
		require.Greater(t, received(), before, "nothing flowed while the release was rolled back")
	} else {
		t.Log("the records had come to an end before the rollback, on a machine this slow: nothing is said of a rollback while they flow")
	}

	require.Eventually(t, func() bool {
		return n.run("kubectl", "get", "job/flow", "--output", "jsonpath={.status.succeeded}{.status.failed}") != ""
	}, 5*time.Minute, time.Second, "the records do not come to an end")
	var sum struct {
		Mismatches                                      []string
		Messages, Received, Stored, Duplicate, Rejected int64
	}
	out = n.run("kubectl", "logs", "job/flow")
	require.NoError(t, json.Unmarshal([]byte(out[strings.Index(out, "{\"received\""):]), &sum), out)
	t.Logf("%d records of %d messages: stored %d, duplicate %d, rejected %d; %d when the worker was killed, %d when it was rolled back", sum.Received, sum.Messages, sum.Stored, sum.Duplicate, sum.Rejected, killed, before)
	twice, wrong := sentTwice(sum.Mismatches)
	require.Empty(t, wrong)
	t.Logf("%d records of messages that the sender sent again, having got no answer: duplicates all", twice)

	require.Positive(t, n.ask(ds, `{"indicator":"I-01"}`), "the dashboards see nobody")
	release("upgrade", "duiwu", allInOne, "second", own(func(map[string]string) {})...)
	require.Regexp(t, `went through Kafka, a worker and the database in .*; the dashboards count [1-9]`, n.run("helm", "test", "duiwu", "--logs"))
	restarts := n.run("kubectl", "get", "pods", "--output", `jsonpath={range .items[*].status.containerStatuses[*]}{.name}={.restartCount} {end}`)
	require.NotRegexp(t, regexp.MustCompile(`=[1-9]`), restarts, "a container started again by itself")

	n.logUse()
	n.plugin(registry + "/" + repository + "-plugin:test")

	n.run("kubectl", "delete", "job", "flow", "--wait")
	n.run("helm", "uninstall", "duiwu", "--wait", "--timeout", "3m")
	require.Eventually(t, func() bool { return n.left() == "" }, time.Minute, time.Second)
	require.Empty(t, n.left(), "uninstall left something")
}

// allInOne are the values for trying out.
const allInOne = "duiwu/ci/all-in-one-values.yaml"

// logUse tells what the release's containers take, in the kubelet's words.
func (n *node) logUse() {
	n.t.Helper()
	var stats struct {
		Pods []struct {
			PodRef     struct{ Name, Namespace string }
			Containers []struct {
				Name   string
				CPU    struct{ UsageCoreNanoSeconds float64 }
				Memory struct{ WorkingSetBytes float64 }
			}
		}
	}
	require.NoError(n.t, json.Unmarshal([]byte(n.run("kubectl", "get", "--raw", "/api/v1/nodes/duiwu/proxy/stats/summary")), &stats))
	for _, p := range stats.Pods {
		for _, c := range p.Containers {
			if p.PodRef.Namespace == n.namespace {
				n.t.Logf("%s %s: %.0f MB, %.1f CPU seconds so far", p.PodRef.Name, c.Name, c.Memory.WorkingSetBytes/1e6, c.CPU.UsageCoreNanoSeconds/1e9)
			}
		}
	}
}

// plugin runs the image of the Grafana plugin as an init container, as Grafana's
// own chart takes it, and once more over what is there.
func (n *node) plugin(image string) {
	n.t.Helper()
	dir := n.t.TempDir()
	raw, err := exec.Command("go", "run", "../charts/pack", "-out", dir).CombinedOutput()
	require.NoError(n.t, err, string(raw))
	zips, err := filepath.Glob(filepath.Join(dir, "*.zip"))
	require.NoError(n.t, err)
	require.Len(n.t, zips, 1)
	maker := filepath.Join(n.dir, "image")
	raw, err = exec.Command(maker, "release", "-root", "..", "-arch", runtime.GOARCH, "-zip", zips[0], "-o", filepath.Join(dir, "release")).CombinedOutput()
	require.NoError(n.t, err, string(raw))
	require.NoError(n.t, cluster.LoadLayout(n.t.Context(), n.dir, filepath.Join(dir, "release", "oci"), image))
	container := `"image": "` + image + `", "imagePullPolicy": "Never", "args": ["/plugins"],
    "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
    "volumeMounts": [{"name": "plugins", "mountPath": "/plugins"}]}]`
	n.apply(`{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "plugin"}, "spec": {"backoffLimit": 0, "template": {"spec": {
  "restartPolicy": "Never", "automountServiceAccountToken": false,
  "securityContext": {"runAsNonRoot": true, "runAsUser": 472, "fsGroup": 472, "seccompProfile": {"type": "RuntimeDefault"}},
  "initContainers": [{"name": "install", ` + container + `, "containers": [{"name": "again", ` + container + `,
  "volumes": [{"name": "plugins", "emptyDir": {}}]}}}}`)
	n.run("kubectl", "wait", "job/plugin", "--for=condition=Complete", "--timeout=1m")
	require.Contains(n.t, n.run("kubectl", "logs", "job/plugin"), "is in /plugins/duiwu-datasource")
	n.run("kubectl", "delete", "job", "plugin", "--wait")
}

var mismatch = regexp.MustCompile(`^feed "([a-z_]+)": (received|duplicate) ([0-9]+), planted ([0-9]+)$`)

// sentTwice takes out of the comparison what is right though it was not planted: a
// sender that gets no answer in time sends again, and each such record is received
// once more and a duplicate once more, and nothing else changes. It gives their
// number, and the sentences that stay.
func sentTwice(mismatches []string) (n int64, wrong []string) {
	more := map[string]map[string]int64{"received": {}, "duplicate": {}}
	for _, line := range mismatches {
		m := mismatch.FindStringSubmatch(line)
		if m == nil {
			wrong = append(wrong, line)
			continue
		}
		var got, want int64
		_, _ = fmt.Sscan(m[3]+" "+m[4], &got, &want) // digits both
		more[m[2]][m[1]] = got - want
	}
	if !maps.Equal(more["received"], more["duplicate"]) {
		wrong = append(wrong, fmt.Sprintf("surplus by feed differs: %v", more))
	}
	for feed, surplus := range more["received"] {
		if surplus < 0 {
			wrong = append(wrong, fmt.Sprintf("feed %q: %d records are lost", feed, -surplus))
		}
		n += surplus
	}
	return n, wrong
}

func TestSentTwice(t *testing.T) {
	f := func(n int64, wrong int, mismatches ...string) {
		t.Helper()
		got, left := sentTwice(mismatches)
		require.Len(t, left, wrong)
		if wrong == 0 {
			require.Equal(t, n, got)
		}
	}
	f(0, 0)
	f(27, 0, `feed "attendance": received 7055, planted 7028`, `feed "attendance": duplicate 31, planted 4`)
	f(0, 1, `feed "attendance": received 7055, planted 7028`)
	f(0, 1, `feed "attendance": received 7055, planted 7028`, `feed "attendance": duplicate 30, planted 4`)
	f(0, 1, `feed "attendance": received 7027, planted 7028`, `feed "attendance": duplicate 3, planted 4`)
	f(0, 1, `feed "attendance": new 7, planted 8`)
}

// left lists what is in the namespace beside what was there before the release.
func (n *node) left() string {
	n.t.Helper()
	kinds := strings.Fields(n.run("kubectl", "api-resources", "--verbs=list", "--namespaced", "--output=name"))
	var out []string
	for _, name := range strings.Split(n.run("kubectl", "get", strings.Join(kinds, ","), "--output=name"), "\n") {
		if strings.HasPrefix(name, "Warning:") { // that a kind is an old one
			continue
		}
		switch name {
		case "configmap/kube-root-ca.crt", "serviceaccount/default", "secret/duiwu-clickhouse", "secret/duiwu-keys":
		default:
			if !strings.HasPrefix(name, "event") {
				out = append(out, name)
			}
		}
	}
	return strings.Join(out, " ")
}

func (n *node) apply(manifest string) {
	n.t.Helper()
	require.NoError(n.t, cluster.Kubectl(n.t.Context(), n.dir, []byte(manifest), "apply", "--namespace", n.namespace, "-f", "-"))
}

// forward gives an address on this machine that leads to a port of the cluster.
func (n *node) forward(to, port string) string {
	n.t.Helper()
	kubectl, err := cluster.Program(n.dir, "kubectl")
	require.NoError(n.t, err)
	local := freePorts(n.t, 1)[0]
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil { // it ends with each connection that breaks
			_ = exec.CommandContext(ctx, kubectl, "--kubeconfig", cluster.Kubeconfig(n.dir), "--namespace", n.namespace, "port-forward", to, local+":"+port).Run()
			time.Sleep(200 * time.Millisecond)
		}
	}()
	n.t.Cleanup(func() { stop(); <-done })
	return "127.0.0.1:" + local
}

// received is how many records the ledger vouches for; 0 while the database does
// not answer, as the way to it may have been cut.
func received(t *testing.T, dsn string) (n int64) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, dsn[:strings.LastIndex(dsn, "/")]+"/?database=duiwu", strings.NewReader("SELECT sum(received) FROM receipts"))
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = fmt.Fscan(res.Body, &n) // an error's text is no number
	return n
}

// ask gives the last number of the plugin's answer.
func (n *node) ask(ds *plugin.Datasource, query string) float64 {
	n.t.Helper()
	res, err := ds.QueryData(n.t.Context(), &backend.QueryDataRequest{Queries: []backend.DataQuery{{RefID: "A", JSON: []byte(query)}}})
	require.NoError(n.t, err)
	require.NoError(n.t, res.Responses["A"].Error)
	var out float64
	for _, frame := range res.Responses["A"].Frames {
		for _, field := range frame.Fields {
			for i := range field.Len() {
				if v, err := field.NullableFloatAt(i); err == nil && v != nil {
					out = *v
				}
			}
		}
	}
	return out
}

// flow is a job that sends a small nation's year, some hundred messages a second,
// waits for the release's workers, and compares all tables with what it planted.
// It must end at the first try.
func flow(image string) string {
	return `{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "flow"}, "spec": {"backoffLimit": 0, "template": {"spec": {
  "restartPolicy": "Never", "automountServiceAccountToken": false,
  "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
  "containers": [{"name": "flow", "image": "` + image + `", "imagePullPolicy": "Never",
    "args": ["--others", "--once", "--json", "--kafka=duiwu-servers:9092", "--records=40000", "--pace=500", "--dir=/data"],
    "env": [{"name": "DUIWU_CLICKHOUSE", "valueFrom": {"secretKeyRef": {"name": "duiwu-clickhouse", "key": "dsn"}}}],
    "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
  "volumes": [{"name": "data", "emptyDir": {}}]}}}}`
}
