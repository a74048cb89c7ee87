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
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-plugin-sdk-go/backend"
	"github.com/stretchr/testify/require"

	"github.com/duiwu/duiwu/charts/pkg/plugin"
	"github.com/duiwu/duiwu/cmd/demo/generate"
	"github.com/duiwu/duiwu/helm/cluster"
	"github.com/duiwu/duiwu/internal/fetch"
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

// compile builds a program of the project.
func compile(t *testing.T, pkg, version string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -X main.buildVersion="+version, "-o", out, pkg)
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	raw, err := cmd.CombinedOutput()
	require.NoError(t, err, string(raw))
	return out
}

// libc are the files of a C library that the database needs, each as it lies here.
func libc(t *testing.T) []string {
	t.Helper()
	const loader = "/lib64/ld-linux-x86-64.so.2"
	real, err := filepath.EvalSymlinks(loader)
	require.NoError(t, err)
	files := []string{loader + ":" + loader}
	for _, name := range []string{"libc.so.6", "libpthread.so.0", "libm.so.6", "librt.so.1", "libdl.so.2"} {
		files = append(files, filepath.Join(filepath.Dir(real), name)+":/lib/x86_64-linux-gnu/"+name)
	}
	return files
}

// firstChart is the chart that is installed first: that of the first release, and
// as long as there is none this one. $DUIWU_CHART_FROM names another commit.
func firstChart(t *testing.T) string {
	t.Helper()
	from := os.Getenv("DUIWU_CHART_FROM")
	if from == "" {
		raw, err := exec.Command("git", "tag", "--list", "v*", "--sort=version:refname").Output()
		require.NoError(t, err)
		if from, _, _ = strings.Cut(string(raw), "\n"); from == "" {
			return "duiwu"
		}
	}
	dir := t.TempDir()
	raw, err := exec.Command("bash", "-c", `set -o pipefail; git -C .. archive "$1" helm/duiwu | tar -x -C "$2"`, "-", from, dir).CombinedOutput()
	require.NoError(t, err, string(raw))
	t.Logf("the chart of %s comes first", from)
	return filepath.Join(dir, "helm/duiwu")
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
		require.NoError(t, cluster.Import(t.Context(), dir, registry+"/"+repository+":"+version, compile(t, "./cmd/duiwu", version)+":/ko-app/duiwu"))
	}
	library, err := fetch.LibCHDB(t.Context())
	require.NoError(t, err)
	var chart struct {
		AppVersion string `yaml:"appVersion"`
	}
	readYAML(t, "duiwu/Chart.yaml", &chart)
	servers := registry + "/" + repository + "-servers:" + chart.AppVersion
	require.NoError(t, cluster.Import(t.Context(), dir, servers, append([]string{compile(t, "./cmd/demo", "") + ":/opt/duiwu/demo", library + ":/opt/duiwu/libchdb.so"}, libc(t)...)...))

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

	release := func(verb, chart, version string) {
		t.Helper()
		n.run("helm", verb, "duiwu", chart, "--values", "duiwu/ci/all-in-one-values.yaml", "--wait", "--timeout", "5m",
			"--set", "image.registry="+registry+",image.repository="+repository+",image.tag="+version+",image.pullPolicy=Never",
			"--set", "worker.replicas=2,worker.session=6s,worker.rebalance=6s,worker.extraArgs[0]=--clock="+generate.Today.Format(time.RFC3339))
	}
	release("install", firstChart(t), "first")

	database := n.forward("service/duiwu-servers", "8123")
	dsn := "http://admin:" + password + "@" + database + "/duiwu"
	ds, err := plugin.Open(plugin.Config{URL: dsn, Today: generate.Today.Format(time.DateOnly)})
	require.NoError(t, err)
	t.Cleanup(ds.Dispose)

	n.apply(flow(servers))
	received := func() int64 { return received(t, dsn) }
	more := func(than int64) {
		t.Helper()
		require.Eventually(t, func() bool { return received() > than }, 2*time.Minute, 200*time.Millisecond, "records do not go on after %d", than)
	}
	more(0)
	killed := received()
	n.run("kubectl", "delete", "pod", "--selector", "app.kubernetes.io/component=worker", "--grace-period=0", "--force")
	more(killed)
	n.run("kubectl", "rollout", "status", "deployment/duiwu-worker", "--timeout=3m")

	before := received()
	release("upgrade", "duiwu", "second")
	require.Contains(t, n.run("kubectl", "exec", "deployment/duiwu-worker", "--", "/ko-app/duiwu", "version"), "second")
	require.Greater(t, received(), before, "nothing flowed while the release was upgraded")
	before = received()
	n.run("helm", "rollback", "duiwu", "--wait", "--timeout", "5m")
	require.Contains(t, n.run("kubectl", "exec", "deployment/duiwu-worker", "--", "/ko-app/duiwu", "version"), "first")
	require.Greater(t, received(), before, "nothing flowed while the release was rolled back")

	require.Eventually(t, func() bool {
		return n.run("kubectl", "get", "job/flow", "--output", "jsonpath={.status.succeeded}{.status.failed}") != ""
	}, 5*time.Minute, time.Second, "the records do not come to an end")
	var sum struct {
		Mismatches                                      []string
		Messages, Received, Stored, Duplicate, Rejected int64
	}
	out := n.run("kubectl", "logs", "job/flow")
	require.NoError(t, json.Unmarshal([]byte(out[strings.Index(out, "{\"received\""):]), &sum), out)
	t.Logf("%d records of %d messages: stored %d, duplicate %d, rejected %d; %d when the worker was killed, %d when it was rolled back", sum.Received, sum.Messages, sum.Stored, sum.Duplicate, sum.Rejected, killed, before)
	twice, wrong := sentTwice(sum.Mismatches)
	require.Empty(t, wrong)
	t.Logf("%d records of messages that the sender sent again, having got no answer: duplicates all", twice)

	require.Positive(t, n.ask(ds, `{"indicator":"I-01"}`), "the dashboards see nobody")
	require.Contains(t, n.run("helm", "test", "duiwu", "--logs"), "went through Kafka, a worker and the database")
	restarts := n.run("kubectl", "get", "pods", "--output", `jsonpath={range .items[*].status.containerStatuses[*]}{.name}={.restartCount} {end}`)
	require.NotRegexp(t, regexp.MustCompile(`=[1-9]`), restarts, "a container started again by itself")

	n.run("kubectl", "delete", "job", "flow", "--wait")
	n.run("helm", "uninstall", "duiwu", "--wait", "--timeout", "3m")
	require.Eventually(t, func() bool { return n.left() == "" }, time.Minute, time.Second)
	require.Empty(t, n.left(), "uninstall left something")
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
    "args": ["--others", "--once", "--json", "--kafka=duiwu-servers:9092", "--records=40000", "--pace=400", "--dir=/data"],
    "env": [{"name": "DUIWU_CLICKHOUSE", "valueFrom": {"secretKeyRef": {"name": "duiwu-clickhouse", "key": "dsn"}}}],
    "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
  "volumes": [{"name": "data", "emptyDir": {}}]}}}}`
}
