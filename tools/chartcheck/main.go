// Command chartcheck renders a chart over many values in one process, with
// Helm's own engine, and holds the result against the types of Kubernetes. It
// reads one Request as JSON from stdin and writes one Answer as JSON to stdout.
//
// It is a program of a module of its own, because Helm's and Kubernetes' modules
// have no place in the product's go.mod; and not the helm command, because that
// takes three times as long to build and a process for every case.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	sigsyaml "sigs.k8s.io/yaml"
)

// Request says what to render.
type Request struct {
	Chart string
	// CRDs are files of CustomResourceDefinitions.
	CRDs  []string
	Cases []Case
}

// Case is one release.
type Case struct {
	Name string
	// Values is YAML, laid over the chart's own.
	Values string
	// APIVersions are what the cluster knows beside Kubernetes' own.
	APIVersions []string
	Upgrade     bool
	// Schema is a file with a JSON schema. When it is given, Values is any YAML,
	// and is held against it; the chart is left alone.
	Schema string
}

// Result is what became of a case.
type Result struct {
	Name string
	// Error is why the chart did not render; the rest is then empty.
	Error string
	// Manifests are the rendered files by their path in the chart, NOTES.txt too.
	Manifests map[string]string
	// Lint holds every finding of helm lint, Problems every difference from the
	// types of Kubernetes.
	Lint, Problems []string
	// Unknown are kinds for which there was no type to compare with.
	Unknown []string
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chartcheck:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var req Request
	dec := json.NewDecoder(in)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return fmt.Errorf("cannot read the request: %w", err)
	}
	crds, err := readCRDs(req.CRDs)
	if err != nil {
		return err
	}
	results := make([]Result, len(req.Cases))
	for i, c := range req.Cases {
		results[i] = render(req.Chart, c, crds)
	}
	return json.NewEncoder(out).Encode(results)
}

func render(dir string, c Case, crds map[string]crd) Result {
	r := Result{Name: c.Name, Manifests: map[string]string{}}
	fail := func(err error) Result {
		r.Error, r.Manifests = err.Error(), nil
		return r
	}
	values := map[string]any{}
	if err := sigsyaml.Unmarshal([]byte(c.Values), &values); err != nil {
		return fail(fmt.Errorf("cannot read the values: %w", err))
	}
	if c.Schema != "" {
		raw, err := os.ReadFile(c.Schema)
		if err == nil {
			err = util.ValidateAgainstSingleSchema(values, raw)
		}
		if err != nil {
			return fail(err)
		}
		return r
	}
	chart, err := loader.Load(dir)
	if err != nil {
		return fail(err)
	}
	caps := common.DefaultCapabilities.Copy()
	caps.APIVersions = append(slices.Clone(caps.APIVersions), c.APIVersions...)
	version, err := common.ParseKubeVersion("v1.37.0")
	if err != nil {
		return fail(err)
	}
	caps.KubeVersion = *version
	vals, err := util.ToRenderValues(chart, values, common.ReleaseOptions{
		Name: "rel", Namespace: "office", Revision: 1, IsUpgrade: c.Upgrade, IsInstall: !c.Upgrade,
	}, caps)
	if err != nil {
		return fail(err)
	}
	files, err := engine.Engine{}.Render(chart, vals)
	if err != nil {
		return fail(err)
	}
	for name, text := range files {
		_, name, _ = strings.Cut(name, "/")
		if strings.TrimSpace(text) == "" || strings.HasPrefix(path.Base(name), "_") {
			continue
		}
		r.Manifests[name] = text
		if path.Base(name) == "NOTES.txt" {
			continue
		}
		r.check(name, text, crds)
	}
	for _, m := range lint.RunAll(dir, values, "office", lint.WithKubeVersion(version)).Messages {
		r.Lint = append(r.Lint, m.Error())
	}
	return r
}

// check holds each document of a file against its type.
func (r *Result) check(name, text string, crds map[string]crd) {
	problem := func(err error) { r.Problems = append(r.Problems, fmt.Sprintf("%s: %v", name, err)) }
	docs := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			problem(err)
			return
		}
		var obj map[string]any
		// Strict: a key that is there twice is an error.
		if err := sigsyaml.UnmarshalStrict(doc, &obj); err != nil {
			problem(err)
			continue
		}
		if len(obj) == 0 {
			continue
		}
		gvk := (&unstructured.Unstructured{Object: obj}).GroupVersionKind()
		if scheme.Scheme.Recognizes(gvk) {
			if _, _, err := strict.Decode(doc, nil, nil); err != nil {
				problem(err)
			}
			continue
		}
		def, ok := crds[gvk.String()]
		if !ok {
			r.Unknown = append(r.Unknown, gvk.String())
			continue
		}
		for _, err := range def.problems(obj) {
			problem(fmt.Errorf("%s: %w", gvk.Kind, err))
		}
	}
}

// crd is one version of a custom resource.
type crd struct {
	structural *schema.Structural
	validator  validation.SchemaValidator
}

func readCRDs(files []string) (map[string]crd, error) {
	out := map[string]crd{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read a CRD: %w", err)
		}
		var def apiextensionsv1.CustomResourceDefinition
		if err := sigsyaml.Unmarshal(raw, &def); err != nil {
			return nil, fmt.Errorf("cannot read the CRD %s: %w", file, err)
		}
		for _, v := range def.Spec.Versions {
			var props apiextensions.JSONSchemaProps
			if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &props, nil); err != nil {
				return nil, fmt.Errorf("cannot read the CRD %s: %w", file, err)
			}
			structural, err := schema.NewStructural(&props)
			if err != nil {
				return nil, fmt.Errorf("cannot read the CRD %s: %w", file, err)
			}
			validator, _, err := validation.NewSchemaValidator(&props)
			if err != nil {
				return nil, fmt.Errorf("cannot read the CRD %s: %w", file, err)
			}
			out[fmt.Sprintf("%s/%s, Kind=%s", def.Spec.Group, v.Name, def.Spec.Names.Kind)] = crd{structural, validator}
		}
	}
	return out, nil
}

func (c crd) problems(obj map[string]any) []error {
	var out []error
	for _, e := range validation.ValidateCustomResource(nil, obj, c.validator) {
		out = append(out, e)
	}
	options := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	copied := runtime.DeepCopyJSON(toJSON(obj))
	for _, p := range pruning.PruneWithOptions(copied, c.structural, true, options) {
		out = append(out, fmt.Errorf("unknown field %q", p))
	}
	return out
}

// toJSON gives the numbers the types that DeepCopyJSON knows.
func toJSON(obj map[string]any) map[string]any {
	raw, err := json.Marshal(obj)
	if err != nil {
		panic("BUG: what came from YAML does not go to JSON: " + err.Error())
	}
	var out unstructured.Unstructured
	if err := out.UnmarshalJSON(raw); err != nil {
		panic("BUG: " + err.Error())
	}
	return out.Object
}
