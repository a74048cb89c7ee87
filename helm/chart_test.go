// Package helm tests the chart: it is rendered over many values with Helm's own
// engine, and held against the types of Kubernetes, the restricted policy for
// pods, the flags that the program has, and the metrics that it serves.
package helm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/duiwu/duiwu/helm/cluster"
	"github.com/duiwu/duiwu/internal/fetch"
)

// scenario is one set of values; result is what chartcheck answers about it.
type scenario struct {
	Name, Values string
	APIVersions  []string
	Upgrade      bool
	// Schema is a file to hold Values against, instead of rendering the chart.
	Schema string
}

type result struct {
	Name, Error             string
	Manifests               map[string]string
	Lint, Problems, Unknown []string
}

// operators are what a cluster with all operators knows beside Kubernetes' own.
var operators = []string{"keda.sh/v1alpha1/ScaledObject", "monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PrometheusRule"}

// Modules that hold the definitions of the kinds of other operators; nothing of
// them is compiled.
var crdModules = map[string][]string{
	"github.com/prometheus-operator/prometheus-operator@v0.85.0": {
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
	},
	"github.com/kedacore/keda/v2@v2.21.0": {
		"config/crd/bases/keda.sh_scaledobjects.yaml",
		"config/crd/bases/keda.sh_triggerauthentications.yaml",
	},
	"sigs.k8s.io/gateway-api@v1.4.0": {
		"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
		"config/crd/standard/gateway.networking.k8s.io_backendtlspolicies.yaml",
	},
}

func full() bool { return os.Getenv("DUIWU_TEST") == "full" }

// tools gives the path of chartcheck and the CRD files. It is built once for
// each state of the module tools, into the cache. Plain go test takes what is
// there and skips otherwise; a full run builds.
var tools = sync.OnceValues(func() (struct {
	chartcheck string
	crds       []string
}, error) {
	var out struct {
		chartcheck string
		crds       []string
	}
	cache, err := fetch.Cache()
	if err != nil {
		return out, err
	}
	sum := sha256.New()
	for _, file := range []string{"go.mod", "go.sum", "chartcheck/main.go"} {
		raw, err := os.ReadFile(filepath.Join("../tools", file))
		if err != nil {
			return out, err
		}
		sum.Write(raw)
	}
	mods := slices.Sorted(maps.Keys(crdModules))
	fmt.Fprintln(sum, crdModules)
	dir := filepath.Join(cache, "chartcheck-"+hex.EncodeToString(sum.Sum(nil))[:12])
	out.chartcheck = filepath.Join(dir, "chartcheck")
	for _, mod := range mods {
		for _, file := range crdModules[mod] {
			out.crds = append(out.crds, filepath.Join(dir, filepath.Base(file)))
		}
	}
	// Definitions that no Go module holds (Strimzi's, Altinity's), for who has them.
	if dir := os.Getenv("DUIWU_CRDS"); dir != "" {
		own, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			return out, err
		}
		out.crds = append(out.crds, own...)
	}
	if _, err := os.Stat(out.chartcheck); err == nil {
		return out, nil
	}
	if !full() {
		return out, errNotBuilt
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return out, err
	}
	for _, mod := range mods {
		cmd := exec.Command("go", "mod", "download", "-json", mod)
		cmd.Dir = "../tools"
		raw, err := cmd.Output()
		if err != nil {
			return out, fmt.Errorf("cannot download %s: %w\n%s", mod, err, raw)
		}
		var m struct{ Dir string }
		if err := json.Unmarshal(raw, &m); err != nil {
			return out, err
		}
		for _, file := range crdModules[mod] {
			raw, err := os.ReadFile(filepath.Join(m.Dir, file))
			if err != nil {
				return out, err
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), raw, 0o644); err != nil {
				return out, err
			}
		}
	}
	// The binary comes last and by a rename: where it is, all is there.
	cmd := cluster.Compile(context.Background(), "../tools", out.chartcheck+".part", "./chartcheck")
	if raw, err := cmd.CombinedOutput(); err != nil {
		return out, fmt.Errorf("cannot build chartcheck: %w\n%s", err, raw)
	}
	return out, os.Rename(out.chartcheck+".part", out.chartcheck)
})

var errNotBuilt = fmt.Errorf("the chart is not rendered: chartcheck is not built; DUIWU_TEST=full go test ./helm builds it (once, about 2 minutes)")

// render renders all scenarios with one start of the program.
func render(t *testing.T, scenarios []scenario) []result {
	t.Helper()
	tool, err := tools()
	if err == errNotBuilt {
		t.Skip(err)
	}
	require.NoError(t, err)
	dir, err := filepath.Abs("duiwu")
	require.NoError(t, err)
	in, err := json.Marshal(map[string]any{"Chart": dir, "CRDs": tool.crds, "Cases": scenarios})
	require.NoError(t, err)
	cmd := exec.Command(tool.chartcheck)
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	raw, err := cmd.Output()
	require.NoError(t, err, errs.String())
	var out []result
	require.NoError(t, json.Unmarshal(raw, &out))
	require.Len(t, out, len(scenarios))
	return out
}

// object is one rendered object.
type object struct {
	file string
	m    map[string]any
}

func (o object) at(path ...string) any { return at(o.m, path...) }
func (o object) kind() string          { s, _ := o.m["kind"].(string); return s }
func (o object) name() string          { s, _ := o.at("metadata", "name").(string); return s }
func (o object) String() string        { return o.file + ": " + o.kind() + " " + o.name() }

func at(x any, path ...string) any {
	for _, p := range path {
		m, ok := x.(map[string]any)
		if !ok {
			return nil
		}
		x = m[p]
	}
	return x
}

func list(x any) []any { l, _ := x.([]any); return l }

func objects(t *testing.T, r result) []object {
	t.Helper()
	require.Empty(t, r.Error)
	var out []object
	for _, file := range slices.Sorted(maps.Keys(r.Manifests)) {
		if strings.HasSuffix(file, ".txt") {
			continue
		}
		dec := yaml.NewDecoder(strings.NewReader(r.Manifests[file]))
		for {
			var m map[string]any
			if err := dec.Decode(&m); err != nil {
				require.ErrorContains(t, err, "EOF", file)
				break
			}
			if len(m) > 0 {
				out = append(out, object{file, m})
			}
		}
	}
	return out
}

// podSpec gives the pod of an object that has one, and its labels.
func (o object) podSpec() (spec, labels any) {
	switch o.kind() {
	case "Deployment", "StatefulSet", "Job":
		return o.at("spec", "template", "spec"), o.at("spec", "template", "metadata", "labels")
	case "CronJob":
		template := o.at("spec", "jobTemplate", "spec", "template")
		return at(template, "spec"), at(template, "metadata", "labels")
	case "Pod":
		return o.at("spec"), o.at("metadata", "labels")
	}
	return nil, nil
}

// matrix is every file in ci, in a bare cluster and in one with all operators,
// and the feed files of the program itself.
func matrix(t *testing.T) []scenario {
	t.Helper()
	files, err := filepath.Glob("duiwu/ci/*-values.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var out []scenario
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimSuffix(filepath.Base(file), "-values.yaml")
		out = append(out,
			scenario{Name: name + "/bare", Values: string(raw)},
			scenario{Name: name + "/operators", Values: string(raw), APIVersions: operators, Upgrade: true})
	}
	feeds, err := yaml.Marshal(map[string]any{"feeds": map[string]any{"files": feedFiles(t)}})
	require.NoError(t, err)
	return append(out, scenario{Name: "feeds/bare", Values: string(feeds)})
}

func feedFiles(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.yaml", "*.csv", "codes/*.csv"} {
		files, err := filepath.Glob(filepath.Join("../ingest/feeds", pattern))
		require.NoError(t, err)
		for _, file := range files {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			name, err := filepath.Rel("../ingest/feeds", file)
			require.NoError(t, err)
			out[filepath.ToSlash(name)] = string(raw)
		}
	}
	return out
}

func TestChart(t *testing.T) {
	scenarios := matrix(t)
	results := render(t, scenarios)
	kinds := map[string]bool{}
	for _, r := range results {
		t.Run(r.Name, func(t *testing.T) {
			require.Empty(t, r.Problems, "not as Kubernetes has it")
			require.Empty(t, r.Lint)
			for _, kind := range r.Unknown {
				require.True(t, foreign(kind), "no type to compare %s with", kind)
			}
			all := objects(t, r)
			for _, o := range all {
				kinds[o.kind()] = true
				checkObject(t, o)
				checkPod(t, o)
				checkStrimzi(t, o)
			}
			checkReferences(t, all)
			checkHooks(t, all)
			require.NotContains(t, strings.Join(slices.Collect(maps.Values(r.Manifests)), ""), "<no value>")
		})
	}
	for _, kind := range []string{
		"Deployment", "StatefulSet", "Job", "CronJob", "Pod", "Service", "Ingress", "HTTPRoute", "BackendTLSPolicy", "PodMonitor", "ServiceAccount", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler",
		"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule", "Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser", "ClickHouseInstallation",
	} {
		require.True(t, kinds[kind], "no scenario makes a %s", kind)
	}
}

func checkObject(t *testing.T, o object) {
	t.Helper()
	labels := at(o.m, "metadata", "labels")
	require.LessOrEqual(t, len(o.name()), 63, o)
	if o.file == "templates/extraobjects.yaml" {
		return
	}
	for _, l := range []string{"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"} {
		require.NotEmpty(t, at(labels, l), "%s has no label %s", o, l)
	}
	if o.file != "templates/strimzi.yaml" && o.file != "templates/grafana.yaml" {
		require.Nil(t, o.at("metadata", "namespace"), "%s: the namespace is the release's", o)
	}
	// What changes with a version has no place in a selector: a Deployment's
	// cannot change, and a Service's would leave the old pods.
	for _, path := range [][]string{{"spec", "selector"}, {"spec", "selector", "matchLabels"}, {"spec", "podSelector", "matchLabels"}} {
		for l := range asMap(o.at(path...)) {
			require.NotContains(t, []string{"helm.sh/chart", "app.kubernetes.io/version"}, l, o)
		}
	}
}

// foreign says of a kind that its definition is in no Go module.
func foreign(kind string) bool {
	return strings.HasPrefix(kind, "kafka.strimzi.io/v1") || strings.HasPrefix(kind, "clickhouse.altinity.com/v1")
}

func asMap(x any) map[string]any { m, _ := x.(map[string]any); return m }

// checkPod holds a pod against the restricted level of Pod Security, and a
// little more.
func checkPod(t *testing.T, o object) {
	t.Helper()
	spec, _ := o.podSpec()
	if spec == nil {
		return
	}
	for _, host := range []string{"hostNetwork", "hostPID", "hostIPC"} {
		require.Nil(t, at(spec, host), o)
	}
	require.Equal(t, true, at(spec, "securityContext", "runAsNonRoot"), o)
	require.NotEqual(t, 0, at(spec, "securityContext", "runAsUser"), o)
	require.Equal(t, "RuntimeDefault", at(spec, "securityContext", "seccompProfile", "type"), o)
	require.Equal(t, false, at(spec, "automountServiceAccountToken"), o)
	require.Equal(t, false, at(spec, "enableServiceLinks"), o)
	volumes := map[string]bool{}
	for _, v := range list(at(spec, "volumes")) {
		require.Nil(t, at(v, "hostPath"), o)
		name := at(v, "name").(string)
		require.False(t, volumes[name], "%s: two volumes %s", o, name)
		volumes[name] = false
	}
	for _, v := range list(o.at("spec", "volumeClaimTemplates")) {
		volumes[at(v, "metadata", "name").(string)] = false
	}
	images := map[any]bool{}
	// Servers for trying out come with images that are not ours.
	ours := o.file != "templates/extraobjects.yaml"
	for _, c := range append(list(at(spec, "containers")), list(at(spec, "initContainers"))...) {
		require.Equal(t, false, at(c, "securityContext", "allowPrivilegeEscalation"), o)
		if !ours {
			continue
		}
		require.Equal(t, true, at(c, "securityContext", "readOnlyRootFilesystem"), o)
		require.Equal(t, []any{"ALL"}, at(c, "securityContext", "capabilities", "drop"), o)
		require.Nil(t, at(c, "securityContext", "capabilities", "add"), o)
		// ko and the Containerfile put the binary where they want.
		require.Nil(t, at(c, "command"), "%s: the image's entrypoint is the command", o)
		images[at(c, "image")] = true
		for _, m := range list(at(c, "volumeMounts")) {
			name := at(m, "name").(string)
			_, ok := volumes[name]
			require.True(t, ok, "%s mounts %s, which is no volume", o, name)
			volumes[name] = true
		}
	}
	if !ours {
		return
	}
	require.Len(t, images, 1, "%s: one image", o)
	for name, mounted := range volumes {
		require.True(t, mounted, "%s: volume %s is mounted nowhere", o, name)
	}
	if o.kind() == "Deployment" || o.kind() == "StatefulSet" {
		c := list(at(spec, "containers"))[0]
		require.Equal(t, "/livez", at(c, "livenessProbe", "httpGet", "path"), "a stopped partition must not restart a worker")
		require.Equal(t, "/livez", at(c, "startupProbe", "httpGet", "path"), "a missing topic must not restart a worker")
		require.Equal(t, "/readyz", at(c, "readinessProbe", "httpGet", "path"))
	}
}

// checkReferences: what one object says of another holds.
func checkReferences(t *testing.T, all []object) {
	t.Helper()
	names := map[string]object{}
	var pods []any
	var pod object
	for _, o := range all {
		id := fmt.Sprint(o.kind(), "/", o.at("metadata", "namespace"), "/", o.name())
		_, twice := names[id]
		require.False(t, twice, "two of %s", o)
		names[id] = o
		if _, labels := o.podSpec(); labels != nil {
			pods = append(pods, labels)
		}
		if o.kind() == "Deployment" && o.file == "templates/deployment.yaml" {
			pod = o
		}
	}
	hook := func(o object) bool { return o.at("metadata", "annotations", "helm.sh/hook") != nil }
	for _, o := range all {
		var selector map[string]any
		switch o.kind() {
		case "Deployment", "StatefulSet", "PodDisruptionBudget":
			selector = asMap(o.at("spec", "selector", "matchLabels"))
		case "NetworkPolicy":
			selector = asMap(o.at("spec", "podSelector", "matchLabels"))
		case "Service":
			selector = asMap(o.at("spec", "selector"))
		case "ScaledObject", "HorizontalPodAutoscaler":
			require.Equal(t, pod.name(), o.at("spec", "scaleTargetRef", "name"), o)
			require.Nil(t, pod.at("spec", "replicas"), "a fixed number of replicas undoes the scaling at each upgrade")
		case "ServiceMonitor":
			for _, s := range all {
				if s.kind() == "Service" && s.file != "templates/extraobjects.yaml" {
					// Each component has one service with a port for metrics, and no other is scraped.
					labels, metrics := asMap(s.at("metadata", "labels")), at(list(s.at("spec", "ports"))[0], "name") == "metrics"
					for k, v := range asMap(o.at("spec", "selector", "matchLabels")) {
						if k == "duiwu.io/metrics" {
							require.Equal(t, metrics, labels[k] == v, s)
							continue
						}
						require.Equal(t, v, labels[k], o)
					}
				}
			}
		case "Ingress", "HTTPRoute", "BackendTLSPolicy":
			service := o.name()
			s, ok := names["Service/<nil>/"+service]
			require.True(t, ok, "%s stands before no service", o)
			require.Equal(t, "https", at(list(s.at("spec", "ports"))[0], "name"), o)
		}
		if selector != nil {
			require.True(t, slices.ContainsFunc(pods, func(labels any) bool {
				for k, v := range selector {
					if at(labels, k) != v {
						return false
					}
				}
				return true
			}), "%s selects no pod", o)
		}
		spec, _ := o.podSpec()
		for _, v := range list(at(spec, "volumes")) {
			if name, ok := at(v, "configMap", "name").(string); ok {
				cm, ok := names["ConfigMap/<nil>/"+name]
				require.True(t, ok, "%s mounts ConfigMap %s, which is not rendered", o, name)
				// A pre-install hook runs before any other object is there.
				require.Equal(t, o.kind() == "Job", hook(cm), "%s mounts %s", o, cm)
			}
		}
		if name, ok := at(spec, "serviceAccountName").(string); ok && o.kind() == "Job" {
			t.Errorf("%s runs as %s, which does not exist before the first install", o, name)
		}
	}
}

// checkHooks: a hook that stays would be an orphan after uninstall.
func checkHooks(t *testing.T, all []object) {
	t.Helper()
	for _, o := range all {
		if o.at("metadata", "annotations", "helm.sh/hook") != nil {
			require.Equal(t, "before-hook-creation,hook-succeeded", o.at("metadata", "annotations", "helm.sh/hook-delete-policy"), o)
		}
	}
}

// Strimzi's resources, as far as the chart uses them, after the v1 schemas in
// its release 0.50; the operator's own definitions are in no Go module.
type kafkaTopic struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   map[string]any
	Spec       struct {
		Partitions, Replicas int
		Config               map[string]any
	}
}

type kafkaNodePool struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   map[string]any
	Spec       struct {
		Replicas int
		Roles    []string
		Storage  struct {
			Type    string
			Volumes []struct {
				ID            int
				Type          string
				KraftMetadata string `yaml:"kraftMetadata"`
				Size, Class   string
				DeleteClaim   bool `yaml:"deleteClaim"`
			}
		}
		Resources map[string]any
		Template  struct {
			Pod            map[string]any
			KafkaContainer map[string]any `yaml:"kafkaContainer"`
		}
	}
}

type kafkaCluster struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   map[string]any
	Spec       struct {
		Kafka struct {
			Version   string
			Listeners []struct {
				Name, Type     string
				Port           int
				TLS            bool
				Authentication struct{ Type string }
			}
			Authorization struct{ Type string }
			Config        map[string]any
		}
		EntityOperator struct {
			TopicOperator map[string]any `yaml:"topicOperator"`
			UserOperator  map[string]any `yaml:"userOperator"`
			Template      map[string]any
		} `yaml:"entityOperator"`
	}
}

type kafkaUser struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   map[string]any
	Spec       struct {
		Authentication struct{ Type string }
		Authorization  struct {
			Type string
			ACLs []struct {
				Resource struct {
					Type, Name  string
					PatternType string `yaml:"patternType"`
				}
				Operations []string
			} `yaml:"acls"`
		}
	}
}

func checkStrimzi(t *testing.T, o object) {
	t.Helper()
	decode := func(into any) {
		raw, err := yaml.Marshal(o.m)
		require.NoError(t, err)
		dec := yaml.NewDecoder(bytes.NewReader(raw))
		dec.KnownFields(true)
		require.NoError(t, dec.Decode(into), o)
		require.Equal(t, "kafka.strimzi.io/v1", o.m["apiVersion"])
		require.NotEmpty(t, o.at("metadata", "labels", "strimzi.io/cluster"), o)
		require.NotEmpty(t, o.at("metadata", "namespace"), o)
	}
	switch o.kind() {
	case "KafkaNodePool":
		var pool kafkaNodePool
		decode(&pool)
		require.Equal(t, []string{"controller", "broker"}, pool.Spec.Roles)
		for _, v := range pool.Spec.Storage.Volumes {
			require.False(t, v.DeleteClaim, "records that nobody has read go with the release")
		}
	case "Kafka":
		var kafka kafkaCluster
		decode(&kafka)
		require.Equal(t, "simple", kafka.Spec.Kafka.Authorization.Type, "the users' ACLs would not hold")
		for _, l := range kafka.Spec.Kafka.Listeners {
			require.True(t, l.TLS && l.Authentication.Type != "", "listener %s lets anybody in", l.Name)
		}
		require.Equal(t, 2, kafka.Spec.Kafka.Config["min.insync.replicas"])
	case "KafkaTopic":
		var topic kafkaTopic
		decode(&topic)
		require.Positive(t, topic.Spec.Partitions)
		require.Regexp(t, `^[a-z.]+\.[0-9]{6}$`, o.name())
		if topic.Spec.Config["cleanup.policy"] == "compact" {
			require.Equal(t, 1, topic.Spec.Partitions, "a unit's receipts have one publisher")
			return
		}
		require.IsType(t, 0, topic.Spec.Config["retention.ms"], "milliseconds as an integer, not as 7.776e+09")
	case "KafkaUser":
		var user kafkaUser
		decode(&user)
		require.Contains(t, []string{"scram-sha-512", "tls"}, user.Spec.Authentication.Type)
		require.Equal(t, "simple", user.Spec.Authorization.Type)
		switch {
		case strings.HasSuffix(o.name(), "-worker"):
			return
		case strings.HasSuffix(o.name(), "-gateway"):
			for _, acl := range user.Spec.Authorization.ACLs {
				require.NotContains(t, acl.Operations, "Read", "the gateway reads no unit's records")
			}
			return
		}
		require.Len(t, user.Spec.Authorization.ACLs, 2, "a unit may write its own topic, read its receipts, and nothing else")
		for i, operation := range []string{"Write", "Read"} {
			acl := user.Spec.Authorization.ACLs[i]
			require.Equal(t, []string{operation, "Describe"}, acl.Operations)
			require.Equal(t, "literal", acl.Resource.PatternType)
			require.Equal(t, "topic", acl.Resource.Type)
			require.Equal(t, o.name()[len(o.name())-6:], acl.Resource.Name[len(acl.Resource.Name)-6:], "%s may use another unit's topic", o)
		}
	}
}

// TestUnitsAreThoseThatReport: the chart's list is the feed files' list.
func TestUnitsAreThoseThatReport(t *testing.T) {
	file, err := os.Open("../ingest/feeds/units.csv")
	require.NoError(t, err)
	defer file.Close()
	r := csv.NewReader(file)
	r.Comment, r.FieldsPerRecord = '#', -1
	rows, err := r.ReadAll()
	require.NoError(t, err)
	code, reports, kind := slices.Index(rows[0], "code"), slices.Index(rows[0], "reports"), slices.Index(rows[0], "type")
	var want []string
	for _, row := range rows[1:] {
		if row[reports] == "true" || row[kind] == "national" {
			want = append(want, row[code])
		}
	}
	for _, v := range leaves(readValues(t)) {
		if v.path == "strimzi.units" {
			var have []string
			require.NoError(t, v.node.Decode(&have))
			require.Equal(t, want, have)
		}
	}
}

// TestRefusedValues: what is wrong is refused before anything is installed, with
// a message that names the value.
func TestRefusedValues(t *testing.T) {
	cases := []struct{ values, want string }{
		{"worker: {replica: 3}", "replica"},
		{"kafak: {}", "kafak"},
		{"image: {tag: 2}", "/image/tag"},
		{"image: {digest: sha256:short}", "/image/digest"},
		{"kafka: {brokers: kafka:9092}", "/kafka/brokers"},
		{"kafka: {brokers: []}", "/kafka/brokers"},
		{"kafka: {brokers: ['http://kafka:9092']}", "/kafka/brokers/0"},
		{"kafka: {brokers: [kafka]}", "/kafka/brokers/0"},
		{"kafka: {sasl: {mechanism: GSSAPI}}", "/kafka/sasl/mechanism"},
		{"kafka: {sasl: {password: secret}}", "password"},
		{"kafka: {sasl: {mechanism: PLAIN}}", "kafka.sasl.mechanism needs kafka.sasl.user"},
		{"clickhouse: {existingSecret: ''}", "/clickhouse/existingSecret"},
		{"clickhouse: {password: secret}", "password"},
		{"keys: {tokenAlgorithm: md5}", "/keys/tokenAlgorithm"},
		{"worker: {logLevel: trace}", "/worker/logLevel"},
		{"worker: {linger: 1 second}", "/worker/linger"},
		{"worker: {terminationGracePeriodSeconds: 5}", "/worker/terminationGracePeriodSeconds"},
		{"worker: {resources: {limits: {memory: 1Pi}}}", "write it with Mi or Gi"},
		{"autoscaling: {minReplicas: 0}", "/autoscaling/minReplicas"},
		{"autoscaling: {scaleDownStabilizationSeconds: 60}", "/autoscaling/scaleDownStabilizationSeconds"},
		{"autoscaling: {enabled: true}\nstrimzi: {topics: {enabled: true}, units: ['110000']}", "there are 1 partitions"},
		{"commonLabels: {app.kubernetes.io/name: mine}", "app.kubernetes.io/name"},
		{"commonLabels: {answer: 42}", "/commonLabels/answer"},
		{"service: {port: 80}", "/service/port"},
		{"podDisruptionBudget: {maxUnavailable: half}", "/podDisruptionBudget/maxUnavailable"},
		{"monitoring: {rules: {enabled: true}}", "/monitoring/rules/enabled"},
		{"strimzi: {units: [110000]}", "/strimzi/units/0"},
		{"strimzi: {kafka: {enabled: true, replicas: 1}, topics: {enabled: true}}", "no topic could be made"},
		{"strimzi: {kafka: {version: newest}}", "/strimzi/kafka/version"},
		{"feeds: {mappings: {310000.worker.yaml: x}}", "feeds.mappings needs gateway.enabled"},
		{"feeds: {mappings: {worker.yaml: x}}", "worker.yaml"},
		{"clickhouseOperator: {enabled: true, passwordSecret: {existingSecret: x}}", "needs migrate.when=pod"},
		{"clickhouseOperator: {enabled: true}\nmigrate: {when: pod}", "needs clickhouseOperator.passwordSecret"},
		{"strimzi: {units: ['11']}", "/strimzi/units/0"},
		{"feeds: {files: {../worker.yaml: x}}", "../worker.yaml"},
		{"feeds: {files: {a.yaml: x}, volume: {image: {reference: x}}}", "exclude each other"},
		{"extraObjects: {a: b}", "/extraObjects"},
		{"gateway: {enabled: true}", "gateway.tls.existingSecret"},
		{"gateway: {enabled: true, tls: {existingSecret: a}}", "somebody has to be able to sign in"},
		{"gateway: {enabled: true, tls: {existingSecret: a}, tokens: {issuer: i, audience: a}}", "gateway.tokens.jwksURL or"},
		{"gateway: {enabled: true, tls: {existingSecret: a}, tokens: {issuer: i, jwksURL: 'https://i'}}", "needs gateway.tokens.audience"},
		{"gateway: {enabled: true, tls: {existingSecret: a}, clientCertificates: {unit: 'subject.ou={unit}'}}", "gateway.clientCertificates.ca.existingSecret"},
		{"gateway: {tokens: {jwksURL: 'http://id.example'}}", "/gateway/tokens/jwksURL"},
		{"gateway: {replicas: 0}", "/gateway/replicas"},
		{"gateway: {spool: {size: ten}}", "/gateway/spool/size"},
		{"gateway: {enabled: true, tls: {existingSecret: a}, tokens: {issuer: i, audience: a, jwksURL: 'https://i'}, ingress: {enabled: true}}", "gateway.ingress.host"},
		{"gateway: {enabled: true, tls: {existingSecret: a}, tokens: {issuer: i, audience: a, jwksURL: 'https://i'}, httpRoute: {enabled: true}}", "gateway.httpRoute.parentRefs"},
		{"grafana: {enabled: true}", "grafana.datasource.url"},
		{"grafana: {datasource: {password: secret}}", "password"},
		{"grafana: {dashboards: {languages: [fr]}}", "/grafana/dashboards/languages/0"},
		{"migrate: {when: never}", "/migrate/when"},
		{"tests: {probe: {unit: beijing}}", "/tests/probe/unit"},
	}
	var scenarios []scenario
	for _, c := range cases {
		scenarios = append(scenarios, scenario{Name: c.values, Values: c.values})
	}
	for i, r := range render(t, scenarios) {
		require.NotEmpty(t, r.Error, "not refused: %s", cases[i].values)
		require.Contains(t, strings.ReplaceAll(r.Error, "'", ""), cases[i].want, cases[i].values)
	}
}

// TestScaledByLag: with KEDA it is the lag, without it the CPU, and never both.
func TestScaledByLag(t *testing.T) {
	f := func(mode string, api []string, want string) {
		t.Helper()
		r := render(t, []scenario{{Values: "autoscaling: {enabled: true, mode: " + mode + "}", APIVersions: api}})[0]
		var have []string
		for _, o := range objects(t, r) {
			if o.file == "templates/autoscaling.yaml" {
				have = append(have, o.kind())
			}
		}
		require.Equal(t, []string{want}, have, mode)
	}
	f("auto", nil, "HorizontalPodAutoscaler")
	f("auto", operators, "ScaledObject")
	f("hpa", operators, "HorizontalPodAutoscaler")
	f("keda", nil, "ScaledObject")
}

// TestGrafana: what Grafana's sidecar finds by its labels is all there, whole, and
// as it lies in charts/.
func TestGrafana(t *testing.T) {
	r := render(t, []scenario{{Values: "grafana: {enabled: true, datasource: {url: 'http://c:8123'}, dashboards: {languages: [zh, en]}}"}})[0]
	found := map[string]int{}
	for _, o := range objects(t, r) {
		for label, value := range asMap(o.at("metadata", "labels")) {
			if !strings.HasPrefix(label, "grafana_") {
				continue
			}
			require.Equal(t, "1", value, o)
			found[label]++
			for name, text := range asMap(o.m["data"]) {
				switch label {
				case "grafana_dashboard":
					require.True(t, json.Valid([]byte(text.(string))), name)
				case "grafana_alert":
					want, err := os.ReadFile("../charts/provisioning/alerting/" + strings.TrimPrefix(name, "duiwu-"))
					require.NoError(t, err)
					require.Equal(t, string(want), text)
				}
			}
		}
	}
	files, err := filepath.Glob("../charts/dashboards/json/*/*.json")
	require.NoError(t, err)
	require.Equal(t, map[string]int{"grafana_datasource": 1, "grafana_dashboard": len(files), "grafana_alert": 1}, found)
}

// TestRestartsOnlyForAReason: what a pod reads at its start changes the pod, and
// a new version of the chart alone does not.
func TestRestartsOnlyForAReason(t *testing.T) {
	template := func(values string) string {
		t.Helper()
		for _, o := range objects(t, render(t, []scenario{{Values: values}})[0]) {
			if o.kind() == "Deployment" {
				raw, err := json.Marshal(o.at("spec", "template"))
				require.NoError(t, err)
				return string(raw)
			}
		}
		t.Fatal("no Deployment")
		return ""
	}
	was := template("{}")
	require.Equal(t, was, template("autoscaling: {enabled: true}"))
	require.NotContains(t, was, "helm.sh/chart")
	require.NotEqual(t, template("feeds: {files: {worker.yaml: a}}"), template("feeds: {files: {worker.yaml: b}}"))
}

// TestAlerts: they ask for metrics that are documented, and say what to do.
func TestAlerts(t *testing.T) {
	documented, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	runbooks, err := os.ReadFile("../docs/operations.md")
	require.NoError(t, err)
	gateway, err := os.ReadFile("duiwu/ci/gateway-values.yaml")
	require.NoError(t, err)
	r := render(t, []scenario{{Values: string(gateway)}})[0]
	metric := regexp.MustCompile(`duiwu_[a-z_]+`)
	var names []string
	for _, o := range objects(t, r) {
		if o.kind() != "PrometheusRule" {
			continue
		}
		for _, g := range list(o.at("spec", "groups")) {
			for _, rule := range list(at(g, "rules")) {
				name := at(rule, "alert").(string)
				names = append(names, name)
				for _, m := range metric.FindAllString(at(rule, "expr").(string), -1) {
					require.Contains(t, string(documented), "`"+m+"`", name)
				}
				require.NotEmpty(t, at(rule, "annotations", "summary"), name)
				require.NotEmpty(t, at(rule, "annotations", "runbook"), name)
				require.Contains(t, string(runbooks), "\n### "+name+"\n", "docs/operations.md has no runbook")
			}
		}
	}
	sort.Strings(names)
	require.Equal(t, []string{"DuiwuAccessRefused", "DuiwuBatchesWait", "DuiwuBehind", "DuiwuClickHouseAway", "DuiwuClockApart", "DuiwuDoctorFinding", "DuiwuKafkaAway", "DuiwuManyRejects",
		"DuiwuNoGateway", "DuiwuNoWorker", "DuiwuPartitionStopped", "DuiwuTopicMissing"}, names)
}

// duiwu builds the program once a test binary.
var duiwu = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "duiwu-chart-")
	if err != nil {
		return "", err
	}
	built = dir
	bin := filepath.Join(dir, "duiwu")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/duiwu").CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build duiwu: %w\n%s", err, out)
	}
	return bin, nil
})

// built is the folder of that program.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built) // the tests are over; the folder is temporary anyway
	}
	os.Exit(code)
}

// TestArgumentsAreKnown hands every rendered command line, with its variables,
// to the program: it must know each flag and take each value.
func TestArgumentsAreKnown(t *testing.T) {
	results := render(t, matrix(t))
	bin, err := duiwu()
	require.NoError(t, err)
	help, err := exec.Command(bin, "help").Output()
	require.NoError(t, err)
	hasDoctor := strings.Contains(string(help), "duiwu doctor")
	seen := map[string]bool{}
	for _, r := range results {
		for _, o := range objects(t, r) {
			spec, _ := o.podSpec()
			for _, c := range append(list(at(spec, "containers")), list(at(spec, "initContainers"))...) {
				var args []string
				for _, a := range list(at(c, "args")) {
					args = append(args, fmt.Sprint(a))
				}
				if o.file == "templates/extraobjects.yaml" || args[0] == "check" || seen[strings.Join(args, " ")] {
					continue
				}
				seen[strings.Join(args, " ")] = true
				if args[0] == "doctor" && !hasDoctor {
					t.Log("this duiwu has no doctor: its command line is held against nothing")
					continue
				}
				// -h comes last: it is reached only if all before it was read.
				cmd := exec.Command(bin, append(args, "-h")...)
				for _, e := range list(at(c, "env")) {
					if v, ok := at(e, "value").(string); ok && strings.HasPrefix(at(e, "name").(string), "DUIWU_") {
						cmd.Env = append(cmd.Env, at(e, "name").(string)+"="+v)
						known, err := exec.Command(bin, args[0], "-h").CombinedOutput()
						require.Error(t, err)
						flag := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(at(e, "name").(string), "DUIWU_")), "_", "-")
						require.Contains(t, string(known), "-"+flag+" ", "%s: no flag for %v", o, at(e, "name"))
					}
				}
				out, err := cmd.CombinedOutput()
				require.Error(t, err) // status 2, for usage
				require.True(t, strings.HasPrefix(string(out), "Usage: duiwu "+args[0]), "%s: %s\n%s", o, args, strings.SplitN(string(out), "\n", 2)[0])
			}
		}
	}
	require.GreaterOrEqual(t, len(seen), 6)
}

// TestOwnFeedsAreChecked lays the rendered ConfigMap out as the kubelet would
// and runs the init container's command on it: the feeds of the program pass, a
// broken one does not.
func TestOwnFeedsAreChecked(t *testing.T) {
	check := func(change func(files map[string]string)) (string, error) {
		t.Helper()
		files := feedFiles(t)
		change(files)
		values, err := yaml.Marshal(map[string]any{"feeds": map[string]any{"files": files}})
		require.NoError(t, err)
		r := render(t, []scenario{{Values: string(values)}})[0]
		dir := t.TempDir()
		var job object
		data := map[string]any{}
		for _, o := range objects(t, r) {
			if o.kind() == "Job" {
				job = o
			}
			if o.kind() == "ConfigMap" && strings.HasSuffix(o.name(), "-migrate-feeds") {
				data = asMap(o.m["data"])
			}
		}
		size := 0
		for _, text := range data {
			size += len(text.(string))
		}
		require.Less(t, size, 1<<20, "the feed files no longer fit in a ConfigMap")
		spec, _ := job.podSpec()
		for _, v := range list(at(spec, "volumes")) {
			for _, item := range list(at(v, "configMap", "items")) {
				to := filepath.Join(dir, at(item, "path").(string))
				require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
				require.NoError(t, os.WriteFile(to, []byte(data[at(item, "key").(string)].(string)), 0o644))
			}
		}
		bin, err := duiwu()
		require.NoError(t, err)
		args := list(at(list(at(spec, "initContainers"))[0], "args"))
		require.Equal(t, []any{"check", "/etc/duiwu/feeds"}, args)
		out, err := exec.Command(bin, "check", dir).CombinedOutput()
		return string(out), err
	}
	out, err := check(func(map[string]string) {})
	require.NoError(t, err, out)
	out, err = check(func(files map[string]string) {
		files["org.yaml"] = strings.Replace(files["org.yaml"], "feed:", "fed:", 1)
	})
	require.Error(t, err)
	require.Contains(t, out, "org.yaml")
}
