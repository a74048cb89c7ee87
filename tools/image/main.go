// Command image makes container images without a daemon and without a registry.
//
//	image release -version 0.2.0 -revision COMMIT -date 2026-11-24T00:00:00Z -o DIR
//	image release -zip PLUGIN.zip ... -o DIR
//	image pack -o image.tar REFERENCE SOURCE:TARGET...
//	image archive -o image.tar REFERENCE LAYOUT
//
// release builds the program for each platform and writes an OCI layout, an SBOM
// (SPDX) for each platform, and a statement of provenance (in-toto, SLSA). With the
// zip that charts/pack has made, it is the image of the Grafana plugin: its folder,
// and a program that copies it. The same source, Go and flags give the same bytes.
// Nothing is signed here: who releases signs.
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const source = "https://github.com/duiwu/duiwu"

// user is the one of the chart's values.
const user = "65532:65532"

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	switch {
	case len(args) > 0 && args[0] == "release":
		return release(args[1:], stdout)
	case len(args) > 0 && args[0] == "pack":
		return pack(args[1:])
	case len(args) > 0 && args[0] == "archive":
		return archive(args[1:])
	}
	return errors.New("want release, pack or archive")
}

// file is one that goes into an image.
type file struct{ source, target string }

// layer packs files in order, owned by root and with no time of their own.
func layer(files []file, level int) (v1.Layer, error) {
	open := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(write(w, files)) }()
		return r, nil
	}
	return tarball.LayerFromOpener(open, tarball.WithCompressionLevel(level), tarball.WithMediaType(types.OCILayer))
}

func write(w io.Writer, files []file) error {
	t := tar.NewWriter(w)
	made := map[string]bool{}
	for _, f := range files {
		target := strings.TrimPrefix(path.Clean(f.target), "/")
		for dir := range parents(target) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := t.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
				return err
			}
		}
		in, err := os.Open(f.source)
		if err != nil {
			return fmt.Errorf("cannot pack a file: %w", err)
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		if err := t.WriteHeader(&tar.Header{Name: target, Typeflag: tar.TypeReg, Mode: mode, Size: info.Size(), ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
		if _, err := io.Copy(t, in); err != nil {
			return err
		}
	}
	return t.Close()
}

// parents yields the folders above a path, the outermost first.
func parents(target string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i, r := range target {
			if r == '/' && !yield(target[:i]) {
				return
			}
		}
	}
}

// pack writes an archive that ctr and docker load. It is quick rather than small.
func pack(args []string) error {
	fs := flag.NewFlagSet("pack", flag.ContinueOnError)
	out := fs.String("o", "image.tar", "archive to write")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() < 2 {
		return errors.New("want a reference and files")
	}
	ref, err := name.ParseReference(fs.Arg(0), name.WithDefaultRegistry("localhost"))
	if err != nil {
		return fmt.Errorf("cannot read the reference: %w", err)
	}
	var files []file
	for _, arg := range fs.Args()[1:] {
		from, to, ok := strings.Cut(arg, ":")
		if !ok {
			return fmt.Errorf("want SOURCE:TARGET, got %q", arg)
		}
		files = append(files, file{from, to})
	}
	l, err := layer(files, gzip.NoCompression)
	if err != nil {
		return err
	}
	img, err := assemble(empty.Image, l, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, files[0].target, nil)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(*out, ref, img)
}

// archive writes this machine's image of a layout, as release makes one, as an
// archive that ctr and docker load.
func archive(args []string) error {
	fs := flag.NewFlagSet("archive", flag.ContinueOnError)
	out := fs.String("o", "image.tar", "archive to write")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() != 2 {
		return errors.New("want a reference and the folder of a layout")
	}
	ref, err := name.ParseReference(fs.Arg(0), name.WithDefaultRegistry("localhost"))
	if err != nil {
		return fmt.Errorf("cannot read the reference: %w", err)
	}
	index, err := layout.ImageIndexFromPath(fs.Arg(1))
	if err != nil {
		return fmt.Errorf("cannot read the layout: %w", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return fmt.Errorf("cannot read the layout: %w", err)
	}
	for _, m := range manifest.Manifests {
		if m.Platform == nil || m.Platform.Architecture != runtime.GOARCH {
			continue
		}
		img, err := index.Image(m.Digest)
		if err != nil {
			return fmt.Errorf("cannot read the layout: %w", err)
		}
		return tarball.WriteToFile(*out, ref, img)
	}
	return fmt.Errorf("%s holds no image for %s", fs.Arg(1), runtime.GOARCH)
}

// assemble lays a layer with a program on a base.
func assemble(base v1.Image, l v1.Layer, p v1.Platform, entrypoint string, labels map[string]string) (v1.Image, error) {
	img, err := mutate.Append(base, mutate.Addendum{Layer: l, History: v1.History{CreatedBy: "image", Created: v1.Time{Time: time.Unix(0, 0)}}})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = p.OS, p.Architecture
	config.Created = v1.Time{Time: time.Unix(0, 0)}
	config.Config.Entrypoint, config.Config.Cmd = []string{entrypoint}, nil
	config.Config.User = user
	config.Config.Labels = labels
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON), nil
}

// product is an image that is released.
type product struct {
	name string
	// pkg is the program, and entrypoint where it lies.
	pkg, entrypoint string
	// zip is the plugin; empty for none.
	zip string
}

func release(args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("release", flag.ContinueOnError)
	out := fs.String("o", "bin/image", "folder to write; what it held is removed")
	root := fs.String("root", "..", "folder of the source")
	version := fs.String("version", "dev", "version that the program tells")
	revision := fs.String("revision", "unknown", "commit that it is built of")
	date := fs.String("date", "1970-01-01T00:00:00Z", "when that commit was made; the SBOM's date")
	base := fs.String("base", "scratch", "image below the program, pinned by digest; scratch for none")
	builder := fs.String("builder", source+"/tools/image", "who builds, as a URI, for the provenance")
	arches := fs.String("arch", "amd64,arm64", "architectures")
	plugin := fs.String("zip", "", "the Grafana plugin, as charts/pack writes it; its image is made and not the program's")
	if err := fs.Parse(args); err != nil {
		return err
	}
	when, err := time.Parse(time.RFC3339, *date)
	if err != nil {
		return fmt.Errorf("cannot read -date: %w", err)
	}
	if err := os.RemoveAll(*out); err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	what := product{name: "duiwu", pkg: "./cmd/duiwu", entrypoint: "/ko-app/duiwu"}
	if *plugin != "" {
		what = product{name: "duiwu-plugin", pkg: "./charts/pack/install", entrypoint: "/install", zip: *plugin}
	}
	labels := map[string]string{
		"org.opencontainers.image.title": what.name, "org.opencontainers.image.source": source,
		"org.opencontainers.image.version": *version, "org.opencontainers.image.revision": *revision,
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	var subjects []subject
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PLATFORM\tBINARY\tIMAGE\tDIGEST")
	for _, arch := range strings.Split(*arches, ",") {
		p := v1.Platform{OS: "linux", Architecture: arch}
		files, binary, err := what.files(*root, *out, arch, *version, *revision)
		if err != nil {
			return err
		}
		l, err := layer(files, gzip.DefaultCompression)
		if err != nil {
			return err
		}
		below := v1.Image(empty.Image)
		if *base != "scratch" {
			if !strings.Contains(*base, "@sha256:") {
				return errors.New("-base: pin it by digest (NAME@sha256:...), or two builders get two images")
			}
			if below, err = crane.Pull(*base, crane.WithPlatform(&p)); err != nil {
				return fmt.Errorf("cannot pull the base: %w", err)
			}
		}
		img, err := assemble(below, l, p, what.entrypoint, labels)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
		digest, err := img.Digest()
		if err != nil {
			return err
		}
		if err := writeSBOM(filepath.Join(*out, "sbom-"+arch+".spdx.json"), what.name, binary, digest, when); err != nil {
			return err
		}
		sizes, err := sizes(binary, img)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "linux/%s\t%.1f MB\t%.1f MB\t%s\n", arch, sizes[0], sizes[1], digest)
		subjects = append(subjects, subject{what.name + " (linux/" + arch + ")", map[string]string{digest.Algorithm: digest.Hex}})
	}
	if _, err := layout.Write(filepath.Join(*out, "oci"), index); err != nil {
		return fmt.Errorf("cannot write the layout: %w", err)
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Fprintf(table, "all\t\t\t%s\n", digest)
	if err := table.Flush(); err != nil {
		return err
	}
	subjects = append([]subject{{what.name, map[string]string{digest.Algorithm: digest.Hex}}}, subjects...)
	return writeJSON(filepath.Join(*out, "provenance.json"), statement(subjects, *version, *revision, *base, *builder))
}

// files are those of the image for an architecture; binary is the one of them that
// is more than it seems, and that the SBOM speaks of.
func (p product) files(root, out, arch, version, revision string) (files []file, binary string, err error) {
	binary = filepath.Join(out, path.Base(p.entrypoint)+"-"+arch)
	if err := build(root, binary, p.pkg, arch, version, revision); err != nil {
		return nil, "", err
	}
	files = []file{{binary, p.entrypoint}}
	if p.zip == "" {
		return files, binary, nil
	}
	z, err := zip.OpenReader(p.zip)
	if err != nil {
		return nil, "", fmt.Errorf("cannot open the plugin: %w", err)
	}
	defer z.Close()
	unpacked := filepath.Join(out, "plugin-"+arch)
	for _, f := range z.File {
		backend := strings.HasPrefix(path.Base(f.Name), "gpx_")
		if backend && !strings.HasSuffix(f.Name, "_linux_"+arch) {
			continue // another platform's
		}
		to := filepath.Join(unpacked, filepath.FromSlash(f.Name))
		if err := extract(f, to); err != nil {
			return nil, "", fmt.Errorf("cannot unpack the plugin: %w", err)
		}
		files = append(files, file{to, path.Join("/plugin", f.Name)})
		if backend {
			binary = to
		}
	}
	if binary == files[0].source {
		return nil, "", fmt.Errorf("%s holds no backend for linux/%s", p.zip, arch)
	}
	return files, binary, nil
}

func extract(f *zip.File, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, f.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return errors.Join(err, w.Close())
}

// build builds as ko and the Containerfile do.
func build(root, out, pkg, arch, version, revision string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.buildVersion="+version+" -X main.buildRevision="+revision, "-o", out, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	if raw, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build for %s: %w\n%s", arch, err, raw)
	}
	return nil
}

// sizes are those of the binary and of what is pulled, in megabytes.
func sizes(binary string, img v1.Image) ([2]float64, error) {
	info, err := os.Stat(binary)
	if err != nil {
		return [2]float64{}, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return [2]float64{}, err
	}
	pulled := manifest.Config.Size
	for _, l := range manifest.Layers {
		pulled += l.Size
	}
	return [2]float64{float64(info.Size()) / 1e6, float64(pulled) / 1e6}, nil
}

type m = map[string]any

// writeSBOM lists the modules that the binary itself says it is made of.
func writeSBOM(out, name, binary string, digest v1.Hash, when time.Time) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("cannot read what the binary is made of: %w", err)
	}
	packages := []m{{
		"SPDXID": "SPDXRef-image", "name": name, "versionInfo": digest.String(), "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
		"primaryPackagePurpose": "CONTAINER", "checksums": []m{{"algorithm": "SHA256", "checksumValue": digest.Hex}},
	}}
	relations := []m{{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-image"}}
	add := func(path, version, purl string) {
		id := "SPDXRef-" + strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
				return r
			}
			return '-'
		}, path+"-"+version)
		packages = append(packages, m{
			"SPDXID": id, "name": path, "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
			"externalRefs": []m{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}},
		})
		relations = append(relations, m{"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": id})
	}
	add(info.Main.Path, info.Main.Version, "pkg:golang/"+info.Main.Path)
	add("stdlib", strings.TrimPrefix(info.GoVersion, "go"), "pkg:golang/stdlib@"+strings.TrimPrefix(info.GoVersion, "go"))
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		add(d.Path, d.Version, "pkg:golang/"+d.Path+"@"+d.Version)
	}
	return writeJSON(out, m{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
		"documentNamespace": source + "/sbom/" + digest.Hex,
		"creationInfo":      m{"created": when.UTC().Format(time.RFC3339), "creators": []string{"Tool: duiwu-tools-image"}},
		"packages":          packages, "relationships": relations,
	})
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// statement says what was built of what, and by whom. It is not signed.
func statement(subjects []subject, version, revision, base, builder string) m {
	materials := []m{{"uri": "git+" + source, "digest": m{"gitCommit": revision}}, {"uri": "pkg:golang/toolchain@" + runtime.Version()}}
	if _, hex, ok := strings.Cut(base, "@sha256:"); ok {
		materials = append(materials, m{"uri": "oci://" + base, "digest": m{"sha256": hex}})
	}
	return m{
		"_type": "https://in-toto.io/Statement/v1", "subject": slices.Clone(subjects), "predicateType": "https://slsa.dev/provenance/v1",
		"predicate": m{
			"buildDefinition": m{
				"buildType":            source + "/tools/image@v1",
				"externalParameters":   m{"version": version, "revision": revision, "base": base},
				"resolvedDependencies": materials,
			},
			"runDetails": m{"builder": m{"id": builder}},
		},
	}
}

func writeJSON(out string, content any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(content); err != nil {
		return err
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}
