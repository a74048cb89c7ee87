package helm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(raw, into), file)
}

// TestSkaffoldSchema holds skaffold.yaml against the schema of its version, a
// copy of the one that skaffold itself publishes (Apache-2.0).
func TestSkaffoldSchema(t *testing.T) {
	var config map[string]any
	readYAML(t, "../skaffold.yaml", &config)
	// The schema takes any string here.
	require.Equal(t, "skaffold/v4beta14", config["apiVersion"])
	schema, err := filepath.Abs("testdata/skaffold-v4beta14.schema.json")
	require.NoError(t, err)
	check := func(config map[string]any) string {
		t.Helper()
		text, err := json.Marshal(config)
		require.NoError(t, err)
		return render(t, []scenario{{Name: "skaffold.yaml", Values: string(text), Schema: schema}})[0].Error
	}
	require.Empty(t, check(config))
	config["biuld"] = map[string]any{}
	require.NotEmpty(t, check(config), "the schema takes anything")
}

// TestSkaffoldNames: every path, image, chart, value and object that
// skaffold.yaml names is there.
func TestSkaffoldNames(t *testing.T) {
	type release struct {
		Name, Namespace, ChartPath string
		ValuesFiles                []string
		SetValues                  map[string]any
		SetValueTemplates          map[string]string
	}
	type pipeline struct {
		Name  string
		Build struct {
			Artifacts []struct {
				Image string
				Ko    struct {
					Main         string
					Env, Flags   []string
					Ldflags      []string
					Dependencies struct{ Paths []string }
				}
			}
			Platforms []string
		}
		Deploy      struct{ Helm struct{ Releases []release } }
		PortForward []struct {
			ResourceName, Namespace string
			Port                    int
		}
	}
	// yaml.v3 looks for lower-case names; skaffold's are camel case.
	var generic map[string]any
	readYAML(t, "../skaffold.yaml", &generic)
	text, err := json.Marshal(generic)
	require.NoError(t, err)
	var config struct {
		pipeline
		Profiles []pipeline
	}
	require.NoError(t, json.Unmarshal(text, &config.pipeline))
	require.NoError(t, json.Unmarshal(text, &config))

	exists := func(path string) {
		t.Helper()
		_, err := os.Stat(filepath.Join("..", path))
		require.NoError(t, err)
	}
	images := map[string]bool{}
	for _, a := range config.Build.Artifacts {
		images[a.Image] = true
		exists(a.Ko.Main)
		for _, p := range a.Ko.Dependencies.Paths {
			exists(p)
		}
		// What ko builds alone and what it builds for skaffold are the same bytes.
		var ko struct {
			Builds []struct {
				Main                string
				Env, Flags, Ldflags []string
			}
		}
		readYAML(t, "../.ko.yaml", &ko)
		require.Len(t, ko.Builds, 1)
		require.Equal(t, ko.Builds[0].Main, a.Ko.Main)
		require.Equal(t, ko.Builds[0].Env, a.Ko.Env)
		require.Equal(t, ko.Builds[0].Flags, a.Ko.Flags)
		// Beside the version, which a release's builder gives.
		plain := slices.DeleteFunc(slices.Clone(ko.Builds[0].Ldflags), func(f string) bool { return strings.Contains(f, "{{") })
		require.Equal(t, plain, a.Ko.Ldflags)
	}
	values := map[string]*value{}
	for _, v := range leaves(readValues(t)) {
		values[v.path] = v
	}
	var names []string
	image := regexp.MustCompile(`^\{\{\.IMAGE_(DOMAIN|REPO_NO_DOMAIN|TAG|DIGEST)_([a-z]+)\}\}$`)
	for _, p := range append(config.Profiles, config.pipeline) {
		names = append(names, p.Name)
		require.Equal(t, p.Name != "grafana", len(p.Deploy.Helm.Releases) > 0, p.Name)
		for _, r := range p.Deploy.Helm.Releases {
			exists(r.ChartPath)
			for _, f := range r.ValuesFiles {
				exists(f)
			}
			for path := range r.SetValues {
				require.Contains(t, values, path, p.Name)
			}
			for path, template := range r.SetValueTemplates {
				require.Contains(t, values, path, p.Name)
				m := image.FindStringSubmatch(template)
				require.NotNil(t, m, template)
				require.True(t, images[m[2]], "%s: no artifact %s", p.Name, m[2])
			}
			require.Len(t, r.SetValueTemplates, 4, p.Name)
		}
	}
	require.Equal(t, []string{"dev", "ci", "prod", "grafana", ""}, names)
	release0 := config.Deploy.Helm.Releases[0]
	for _, f := range config.PortForward {
		require.Equal(t, release0.Namespace, f.Namespace)
		require.Equal(t, release0.Name+"-worker", f.ResourceName)
		require.Equal(t, values["service.port"].node.Value, strings.TrimSpace(mustJSON(f.Port)))
	}
}

// TestSkaffoldGrafana: what the profile copies into a running Grafana is where its
// image has it and where Grafana looks, and the manifest runs that image.
func TestSkaffoldGrafana(t *testing.T) {
	var config struct {
		Profiles []struct {
			Name      string
			Manifests struct {
				RawYaml []string `yaml:"rawYaml"`
			}
			Patches []struct {
				Value struct {
					Image, Context string
					Docker         struct{ Dockerfile string }
					Sync           struct {
						Manual []struct{ Src, Strip, Dest string }
					}
					ResourceName string `yaml:"resourceName"`
				}
			}
		}
	}
	readYAML(t, "../skaffold.yaml", &config)
	p := config.Profiles[len(config.Profiles)-1]
	require.Equal(t, "grafana", p.Name)
	require.Len(t, p.Patches, 2)
	artifact, forward := p.Patches[0].Value, p.Patches[1].Value
	folder := filepath.Join("..", artifact.Context)
	raw, err := os.ReadFile(filepath.Join(folder, artifact.Docker.Dockerfile))
	require.NoError(t, err)
	var provision struct {
		Providers []struct {
			Options struct{ Path string }
		}
	}
	readYAML(t, filepath.Join(folder, "provisioning/dashboards/duiwu.yaml"), &provision)
	require.Len(t, artifact.Sync.Manual, 1)
	rule := artifact.Sync.Manual[0]
	require.Contains(t, string(raw), " "+rule.Strip+" "+rule.Dest+"/\n", "the image has them somewhere else")
	for _, p := range provision.Providers {
		language := strings.TrimPrefix(p.Options.Path, rule.Dest+"/")
		files, err := filepath.Glob(filepath.Join(folder, strings.Replace(rule.Src, "**", language, 1)))
		require.NoError(t, err)
		require.NotEmpty(t, files, "Grafana looks into %s, and nothing is copied there", p.Options.Path)
	}
	require.Len(t, p.Manifests.RawYaml, 1)
	var deployment map[string]any
	readYAML(t, filepath.Join("..", p.Manifests.RawYaml[0]), &deployment)
	require.Equal(t, forward.ResourceName, at(deployment, "metadata", "name"))
	require.Equal(t, artifact.Image, at(list(at(deployment, "spec", "template", "spec", "containers"))[0], "image"))
	// Only what the image takes goes to the builder: node_modules has 450 MB.
	ignore, err := os.ReadFile(filepath.Join(folder, ".dockerignore"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(ignore), "*\n"))
}

func mustJSON(x any) string {
	raw, err := json.Marshal(x)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(raw)
}

// TestSkaffoldValues renders the chart with each profile's values, as skaffold
// hands them to helm.
func TestSkaffoldValues(t *testing.T) {
	var config map[string]any
	readYAML(t, "../skaffold.yaml", &config)
	var scenarios []scenario
	for _, p := range append(list(config["profiles"]), config) {
		for _, r := range list(at(p, "deploy", "helm", "releases")) {
			tree := map[string]any{}
			for _, f := range list(at(r, "valuesFiles")) {
				readYAML(t, filepath.Join("..", f.(string)), &tree)
			}
			for _, set := range []string{"setValues", "setValueTemplates"} {
				for path, v := range asMap(at(r, set)) {
					if set == "setValueTemplates" {
						v = map[string]string{"image.registry": "127.0.0.1:5001", "image.repository": "duiwu", "image.tag": "git-1234567", "image.digest": ""}[path]
					}
					put(tree, strings.Split(path, "."), v)
				}
			}
			scenarios = append(scenarios, scenario{Name: mustJSON(at(p, "name")), Values: mustJSON(tree)})
		}
	}
	for _, r := range render(t, scenarios) {
		require.Empty(t, r.Error, r.Name)
		require.Empty(t, r.Problems, r.Name)
		require.Contains(t, r.Manifests["templates/deployment.yaml"], "127.0.0.1:5001/duiwu:git-1234567", r.Name)
	}
}

func put(m map[string]any, path []string, v any) {
	if len(path) == 1 {
		m[path[0]] = v
		return
	}
	next, ok := m[path[0]].(map[string]any)
	if !ok {
		next = map[string]any{}
		m[path[0]] = next
	}
	put(next, path[1:], v)
}

// TestContainerfile: the base is an argument, the user is the chart's, and the
// binary is built as ko builds it.
func TestContainerfile(t *testing.T) {
	raw, err := os.ReadFile("../Containerfile")
	require.NoError(t, err)
	text := string(raw)
	require.Equal(t, 1, strings.Count(text, "\nFROM "))
	require.Contains(t, text, "\nFROM ${BASE}\n")
	var ko struct {
		DefaultBaseImage string `yaml:"defaultBaseImage"`
		Builds           []struct{ Main string }
	}
	readYAML(t, "../.ko.yaml", &ko)
	require.Contains(t, text, "\nARG BASE="+ko.DefaultBaseImage+"\n")
	require.Contains(t, text, `go build -trimpath -buildvcs=false -ldflags "-s -w $V" -o bin/image/duiwu-$a `+ko.Builds[0].Main)
	var values struct {
		PodSecurityContext struct {
			RunAsUser  int `yaml:"runAsUser"`
			RunAsGroup int `yaml:"runAsGroup"`
		} `yaml:"podSecurityContext"`
	}
	readYAML(t, "duiwu/values.yaml", &values)
	require.Contains(t, text, fmt.Sprintf("\nUSER %d:%d\n", values.PodSecurityContext.RunAsUser, values.PodSecurityContext.RunAsGroup))
}
