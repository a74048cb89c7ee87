// Command image makes container images without a daemon and without a registry.
//
//	image release -version 0.1.0 -revision COMMIT -date 2026-11-24T00:00:00Z -o DIR
//	image pack -o image.tar REFERENCE SOURCE:TARGET...
//
// release builds the program for each platform and writes an OCI layout, an SBOM
// (SPDX) for each platform, and a statement of provenance (in-toto, SLSA). The same
// source, Go and flags give the same bytes. Nothing is signed here: who releases
// signs.
package main

import (
	"archive/tar"
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
	}
	return errors.New("want release or pack")
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
	labels := map[string]string{
		"org.opencontainers.image.title": "duiwu", "org.opencontainers.image.source": source,
		"org.opencontainers.image.version": *version, "org.opencontainers.image.revision": *revision,
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	var subjects []subject
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PLATFORM\tBINARY\tIMAGE\tDIGEST")
	for _, arch := range strings.Split(*arches, ",") {
		p := v1.Platform{OS: "linux", Architecture: arch}
		binary := filepath.Join(*out, "duiwu-"+arch)
		if err := build(*root, binary, arch, *version, *revision); err != nil {
			return err
		}
		l, err := layer([]file{{binary, "/ko-app/duiwu"}}, gzip.DefaultCompression)
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
		img, err := assemble(below, l, p, "/ko-app/duiwu", labels)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
		digest, err := img.Digest()
		if err != nil {
			return err
		}
		if err := writeSBOM(filepath.Join(*out, "sbom-"+arch+".spdx.json"), binary, digest, when); err != nil {
			return err
		}
		sizes, err := sizes(binary, img)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "linux/%s\t%.1f MB\t%.1f MB\t%s\n", arch, sizes[0], sizes[1], digest)
		subjects = append(subjects, subject{"duiwu (linux/" + arch + ")", map[string]string{digest.Algorithm: digest.Hex}})
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
	subjects = append([]subject{{"duiwu", map[string]string{digest.Algorithm: digest.Hex}}}, subjects...)
	return writeJSON(filepath.Join(*out, "provenance.json"), statement(subjects, *version, *revision, *base, *builder))
}

// build builds as ko and the Containerfile do.
func build(root, out, arch, version, revision string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.buildVersion="+version+" -X main.buildRevision="+revision, "-o", out, "./cmd/duiwu")
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
func writeSBOM(out, binary string, digest v1.Hash, when time.Time) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("cannot read what the binary is made of: %w", err)
	}
	packages := []m{{
		"SPDXID": "SPDXRef-image", "name": "duiwu", "versionInfo": digest.String(), "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
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
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "duiwu",
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
