package helm

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/duiwu/duiwu/helm/cluster"
)

// server is a real API server with an etcd behind it: no controller and no node,
// so that objects are judged and kept, and nothing runs.
type server struct {
	t          *testing.T
	url, token string
	client     *http.Client
	helm       string // the command
	kubeconfig string
	resources  map[string]resource // by group/version/Kind
}

// resource is a kind as the server serves it.
type resource struct {
	path       string // /api/v1 or /apis/GROUP/VERSION
	plural     string
	namespaced bool
}

func startServer(t *testing.T) *server {
	t.Helper()
	bin, missing, err := cluster.Cached("../tools", cluster.Server()...)
	require.NoError(t, err)
	if len(missing) > 0 {
		t.Skip("no API server: it is not built; make cluster-programs builds it (once)")
	}
	dir := t.TempDir()
	s := &server{t: t, token: rand.Text(), helm: filepath.Join(bin, "helm"), kubeconfig: filepath.Join(dir, "kubeconfig")}
	ports := freePorts(t, 3)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	keyFile := filepath.Join(dir, "accounts.key")
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600))
	tokens := filepath.Join(dir, "tokens.csv")
	require.NoError(t, os.WriteFile(tokens, []byte(s.token+",admin,admin,system:masters\n"), 0o600))
	etcd := "http://127.0.0.1:" + ports[0]
	peer := "http://127.0.0.1:" + ports[1]
	s.start(dir, filepath.Join(bin, "etcd"), "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	s.url = "https://127.0.0.1:" + ports[2]
	certs := filepath.Join(dir, "certs")
	ended := s.start(dir, filepath.Join(bin, "kube-apiserver"), "--etcd-servers="+etcd, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", "--secure-port="+ports[2], "--cert-dir="+certs,
		"--token-auth-file="+tokens, "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+keyFile, "--service-account-signing-key-file="+keyFile)
	require.Eventually(t, func() bool {
		select {
		case <-ended:
			t.Error("the API server ended by itself")
			return true
		default:
		}
		ca, err := os.ReadFile(filepath.Join(certs, "apiserver.crt"))
		if err != nil {
			return false
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
		code, _ := s.do("GET", "/readyz", "", nil)
		return code == http.StatusOK
	}, 90*time.Second, 300*time.Millisecond, "the API server does not get ready")
	if t.Failed() {
		t.FailNow()
	}
	config, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "t",
		"clusters": []any{map[string]any{"name": "t", "cluster": map[string]any{"server": s.url, "certificate-authority": filepath.Join(certs, "apiserver.crt")}}},
		"users":    []any{map[string]any{"name": "t", "user": map[string]any{"token": s.token}}},
		"contexts": []any{map[string]any{"name": "t", "context": map[string]any{"cluster": "t", "user": "t"}}},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.kubeconfig, config, 0o600))
	s.applyCRDs()
	return s
}

func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { require.NoError(t, l.Close()) }()
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		out = append(out, port)
	}
	return out
}

// start starts a program that is killed when the test ends; its log is shown
// when the test fails.
func (s *server) start(dir, bin string, args ...string) (ended chan struct{}) {
	s.t.Helper()
	log, err := os.Create(filepath.Join(dir, filepath.Base(bin)+".log"))
	require.NoError(s.t, err)
	cmd := exec.Command(bin, args...)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(s.t, cmd.Start())
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed below; its log says why when it was not
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it holds nothing that is wanted, and takes half a minute to stop in order
		<-ended
		_ = log.Close()
		if s.t.Failed() {
			raw, _ := os.ReadFile(log.Name())
			s.t.Logf("the end of %s:\n%s", log.Name(), raw[max(0, len(raw)-3000):])
		}
	})
	return ended
}

// do asks, and asks again while the server says that it is not ready yet for a
// kind that was just defined.
func (s *server) do(method, path, contentType string, body []byte) (code int, answer []byte) {
	s.t.Helper()
	for range 60 {
		if code, answer = s.once(method, path, contentType, body); code != http.StatusTooManyRequests {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	return code, answer
}

func (s *server) once(method, path, contentType string, body []byte) (int, []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(body))
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Bearer "+s.token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return res.StatusCode, raw
}

func (s *server) get(path string, into any) {
	s.t.Helper()
	code, raw := s.do("GET", path, "", nil)
	require.Equal(s.t, http.StatusOK, code, "%s: %s", path, raw)
	require.NoError(s.t, json.Unmarshal(raw, into))
}

// discover learns the kinds that the server serves.
func (s *server) discover() {
	s.t.Helper()
	s.resources = map[string]resource{}
	var groups struct {
		Groups []struct {
			PreferredVersion struct{ GroupVersion string }
			Versions         []struct{ GroupVersion string }
		}
	}
	s.get("/apis", &groups)
	paths := map[string]string{"v1": "/api/v1"}
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			paths[v.GroupVersion] = "/apis/" + v.GroupVersion
		}
	}
	for gv, path := range paths {
		var list struct {
			Resources []struct {
				Name, Kind string
				Namespaced bool
				Verbs      []string
			}
		}
		code, raw := s.do("GET", path, "", nil)
		if code != http.StatusOK {
			continue // a kind that was just defined is announced before it is served
		}
		require.NoError(s.t, json.Unmarshal(raw, &list))
		for _, r := range list.Resources {
			if !strings.Contains(r.Name, "/") && slices.Contains(r.Verbs, "list") {
				s.resources[gv+"/"+r.Kind] = resource{path, r.Name, r.Namespaced}
			}
		}
	}
}

// apply lays an object over what the server has, as kubectl apply --server-side
// does, with strict fields. It returns what the server says against it.
func (s *server) apply(m map[string]any, namespace string, dryRun bool) string {
	s.t.Helper()
	r, ok := s.resources[fmt.Sprint(m["apiVersion"], "/", m["kind"])]
	if !ok {
		return fmt.Sprintf("the server knows no %v %v", m["apiVersion"], m["kind"])
	}
	path := r.path
	if r.namespaced {
		if own, ok := at(m, "metadata", "namespace").(string); ok {
			namespace = own
		}
		path += "/namespaces/" + namespace
	}
	path += "/" + r.plural + "/" + at(m, "metadata", "name").(string) + "?fieldManager=test&force=true&fieldValidation=Strict"
	if dryRun {
		path += "&dryRun=All"
	}
	return s.told("PATCH", path, "application/apply-patch+yaml", m)
}

func (s *server) told(method, path, contentType string, m map[string]any) string {
	s.t.Helper()
	raw, err := json.Marshal(m)
	require.NoError(s.t, err)
	code, body := s.do(method, path, contentType, raw)
	if code < 300 {
		return ""
	}
	var status struct{ Message string }
	_ = json.Unmarshal(body, &status) // what is no Status is shown as it is
	if status.Message == "" {
		status.Message = string(body)
	}
	return fmt.Sprintf("%d: %s", code, status.Message)
}

func (s *server) applyCRDs() {
	s.t.Helper()
	tool, err := tools()
	if err == errNotBuilt {
		s.t.Skip(err)
	}
	require.NoError(s.t, err)
	s.discover()
	var kinds []string
	for _, file := range tool.crds {
		raw, err := os.ReadFile(file)
		require.NoError(s.t, err)
		var m map[string]any
		require.NoError(s.t, yaml.Unmarshal(raw, &m))
		require.Empty(s.t, s.apply(m, "", false), file)
		for _, v := range list(at(m, "spec", "versions")) {
			if at(v, "served") == true {
				kinds = append(kinds, fmt.Sprint(at(m, "spec", "group"), "/", at(v, "name"), "/", at(m, "spec", "names", "kind")))
			}
		}
	}
	require.Eventually(s.t, func() bool {
		s.discover()
		return slices.IndexFunc(kinds, func(k string) bool { _, ok := s.resources[k]; return !ok }) < 0
	}, 30*time.Second, 200*time.Millisecond)
}

// namespace makes a namespace under the restricted policy, with the account that
// a controller would make.
func (s *server) namespace(name string) {
	s.t.Helper()
	s.must(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{
		"name": name, "labels": map[string]any{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, "")
	s.must(account("default"), name)
}

func account(name string) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": name}}
}

func (s *server) must(m map[string]any, namespace string) {
	s.t.Helper()
	require.Empty(s.t, s.apply(m, namespace, false))
}

// TestOnAServer holds the chart against a real API server, one for both parts.
func TestOnAServer(t *testing.T) {
	s := startServer(t)
	part := func(name string, f func(t *testing.T, s *server)) {
		t.Run(name, func(t *testing.T) {
			mine := *s
			mine.t = t
			f(t, &mine)
		})
	}
	part("takes every scenario", everyScenario)
	part("release comes and goes", comesAndGoes)
}

// everyScenario: a real API server takes every object of every
// scenario, and every pod of it under the restricted policy.
func everyScenario(t *testing.T, s *server) {
	for _, name := range []string{"monitoring", "kafka"} {
		s.namespace(name)
	}
	s.must(map[string]any{"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": map[string]any{"name": "pipelines"}, "value": 100}, "")
	pods, strimzi := 0, 0
	for i, r := range render(t, matrix(t)) {
		namespace := fmt.Sprintf("scenario-%d", i)
		s.namespace(namespace)
		for _, o := range objects(t, r) {
			// Its own, or one that the values say is there.
			spec, _ := o.podSpec()
			if name, ok := at(spec, "serviceAccountName").(string); ok {
				s.must(account(name), namespace)
			}
		}
		for _, o := range objects(t, r) {
			if _, served := s.resources[fmt.Sprint(o.m["apiVersion"], "/", o.m["kind"])]; !served && foreign(fmt.Sprint(o.m["apiVersion"])) {
				strimzi++ // the test of the chart looks at these
				continue
			}
			require.Empty(t, s.apply(o.m, namespace, true), "%s: %s", r.Name, o)
		}
		for _, o := range objects(t, r) {
			spec, labels := o.podSpec()
			if spec == nil {
				continue
			}
			pod := asMap(clone(t, spec))
			var volumes []any
			for _, v := range list(o.at("spec", "volumeClaimTemplates")) {
				name := at(v, "metadata", "name")
				volumes = append(volumes, map[string]any{"name": name, "persistentVolumeClaim": map[string]any{"claimName": fmt.Sprint(name, "-0")}})
			}
			pod["volumes"] = append(list(pod["volumes"]), volumes...)
			if o.kind() == "Deployment" || o.kind() == "StatefulSet" || pod["restartPolicy"] == nil {
				pod["restartPolicy"] = "Always"
			}
			told := s.told("POST", "/api/v1/namespaces/"+namespace+"/pods?dryRun=All&fieldValidation=Strict", "application/json", map[string]any{
				"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"generateName": "pod-", "labels": labels}, "spec": pod,
			})
			require.Empty(t, told, "%s: the pod of %s", r.Name, o)
			pods++
			// The policy is in force: the same pod with one thing more is refused.
			pod["hostNetwork"] = true
			told = s.told("POST", "/api/v1/namespaces/"+namespace+"/pods?dryRun=All", "application/json", map[string]any{
				"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"generateName": "pod-"}, "spec": pod,
			})
			require.Contains(t, told, `violates PodSecurity "restricted`, o)
		}
	}
	require.Greater(t, pods, 30)
	t.Logf("%d pods under the restricted policy; %d objects whose definitions are in no Go module were not given to the server", pods, strimzi)
}

func clone(t *testing.T, x any) any {
	t.Helper()
	raw, err := json.Marshal(x)
	require.NoError(t, err)
	var out any
	require.NoError(t, json.Unmarshal(raw, &out))
	return out
}

// run runs the helm command.
func (s *server) run(args ...string) (string, error) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.helm, append(args, "--namespace", "office", "--kubeconfig", s.kubeconfig)...)
	home := filepath.Join(filepath.Dir(s.kubeconfig), "helm")
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	raw, err := cmd.CombinedOutput()
	return string(raw), err
}

// held lists all that a namespace holds, but for events.
func (s *server) held(namespace string) []string {
	s.t.Helper()
	var out []string
	for _, r := range s.resources {
		if !r.namespaced || r.plural == "events" {
			continue
		}
		var l struct {
			Items []struct{ Metadata struct{ Name string } }
		}
		s.get(r.path+"/namespaces/"+namespace+"/"+r.plural, &l)
		for _, i := range l.Items {
			out = append(out, r.path+" "+r.plural+" "+i.Metadata.Name)
		}
	}
	slices.Sort(out)
	return out
}

// endJobs does for Jobs what a controller and a node would, until ctx ends: each
// succeeds, or fails while fail says so. It counts them.
func (s *server) endJobs(ctx context.Context, namespace string, fail func() bool, ended *int) {
	seen := map[string]bool{}
	for ctx.Err() == nil {
		var jobs struct {
			Items []struct{ Metadata struct{ Name, UID string } }
		}
		s.get("/apis/batch/v1/namespaces/"+namespace+"/jobs", &jobs)
		for _, j := range jobs.Items {
			if seen[j.Metadata.UID] {
				continue
			}
			now := time.Now().UTC().Format(time.RFC3339)
			condition := func(kind string) map[string]any {
				return map[string]any{"type": kind, "status": "True", "reason": "Test", "lastTransitionTime": now}
			}
			status := map[string]any{"startTime": now, "completionTime": now, "succeeded": 1, "conditions": []any{condition("SuccessCriteriaMet"), condition("Complete")}}
			if fail() {
				status = map[string]any{"startTime": now, "failed": 1, "conditions": []any{condition("FailureTarget"), condition("Failed")}}
			}
			if told := s.told("PATCH", "/apis/batch/v1/namespaces/"+namespace+"/jobs/"+j.Metadata.Name+"/status", "application/merge-patch+json", map[string]any{"status": status}); told != "" {
				s.t.Errorf("cannot end Job %s: %s", j.Metadata.Name, told)
			}
			seen[j.Metadata.UID] = true
			*ended++
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// comesAndGoes installs the chart into a real API server, upgrades it,
// rolls it back and removes it. There is no node: the test ends the migration's
// Job itself.
func comesAndGoes(t *testing.T, s *server) {
	s.namespace("office")
	before := s.held("office")
	var mu sync.Mutex
	failing, jobs := false, 0
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.endJobs(ctx, "office", func() bool { mu.Lock(); defer mu.Unlock(); return failing }, &jobs)
	}()
	defer func() { cancel(); <-done }()
	dir := t.TempDir()
	values := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	const common = "gateway: {enabled: true, tls: {existingSecret: a}, tokens: {issuer: 'https://i', audience: a, jwksURL: 'https://i'}}\ndoctor: {enabled: true}\ngrafana: {enabled: true, datasource: {url: 'http://c:8123'}}\n"
	first := values("first.yaml", common)
	second := values("second.yaml", common+"worker: {replicas: 3}\nimage: {tag: 0.9.1}\nfeeds: {files: {worker.yaml: 'feed: worker'}}\nautoscaling: {enabled: true}\n")
	deployment := func() (image, generation any) {
		t.Helper()
		var d map[string]any
		s.get("/apis/apps/v1/namespaces/office/deployments/duiwu-worker", &d)
		return at(list(at(d, "spec", "template", "spec", "containers"))[0], "image"), at(d, "metadata", "generation")
	}
	helm := func(args ...string) {
		t.Helper()
		out, err := s.run(args...)
		require.NoError(t, err, "helm %s\n%s", strings.Join(args, " "), out)
	}

	ours := "ghcr.io/duiwu/duiwu:" + chartOf(t, "duiwu/Chart.yaml").AppVersion
	helm("install", "duiwu", "duiwu", "--values", first)
	image, installed := deployment()
	require.Equal(t, ours, image)

	helm("upgrade", "duiwu", "duiwu", "--values", first)
	_, generation := deployment()
	require.Equal(t, installed, generation, "an upgrade that changes nothing changes no pod")

	helm("upgrade", "duiwu", "duiwu", "--values", second)
	image, generation = deployment()
	require.Equal(t, "ghcr.io/duiwu/duiwu:0.9.1", image)
	held := s.held("office")
	require.Contains(t, held, "/api/v1 configmaps duiwu-feeds")
	require.Contains(t, held, "/apis/keda.sh/v1alpha1 scaledobjects duiwu-worker", "a cluster with KEDA scales by lag")

	mu.Lock()
	failing = true
	mu.Unlock()
	out, err := s.run("upgrade", "duiwu", "duiwu", "--values", second, "--set", "image.tag=0.9.2", "--timeout", "60s")
	require.Error(t, err, out)
	image, after := deployment()
	require.Equal(t, "ghcr.io/duiwu/duiwu:0.9.1", image, "a migration that fails must change no worker")
	require.Equal(t, generation, after)
	const failed = "/apis/batch/v1 jobs duiwu-migrate"
	require.Contains(t, s.held("office"), failed, "its log says why")
	var job map[string]any
	s.get("/apis/batch/v1/namespaces/office/jobs/duiwu-migrate", &job)
	require.EqualValues(t, 86400, at(job, "spec", "ttlSecondsAfterFinished"), "a release that is removed now would leave it for ever")
	mu.Lock()
	failing = false
	mu.Unlock()
	helm("upgrade", "duiwu", "duiwu", "--values", second)
	require.NotContains(t, s.held("office"), failed)

	helm("rollback", "duiwu", "1")
	image, _ = deployment()
	require.Equal(t, ours, image)
	require.NotContains(t, s.held("office"), "/api/v1 configmaps duiwu-feeds", "what the second version brought is gone")

	helm("uninstall", "duiwu")
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, before, s.held("office"), "uninstall leaves nothing")
	require.Equal(t, 5, jobs, "install, three upgrades and a failed one migrate")
}
