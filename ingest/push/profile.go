package push

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Profile is what a unit needs to know to push, in one file. It names files with
// secrets and never holds one. Paths are relative to the profile's folder.
type Profile struct {
	// Unit is the reporting unit, such as "310000".
	Unit string `yaml:"unit"`
	// Brokers are host:port.
	Brokers []string `yaml:"brokers"`
	// TLS says how connections are protected; they are unless Off says otherwise.
	TLS ProfileTLS `yaml:"tls,omitempty"`
	// SASL is the login, none when empty.
	SASL ProfileSASL `yaml:"sasl,omitempty"`
	// RecordKey is the file with the unit's key for ids of rows without a record
	// number.
	RecordKey string `yaml:"record_key,omitempty"`
	// SealKey is the file with the national public key; direct identifiers are
	// sealed when it is there.
	SealKey string `yaml:"seal_key,omitempty"`
	// Feeds and Receipts begin the names of the topics, where they are not the
	// usual ones.
	Feeds    string `yaml:"feed_topics,omitempty"`
	Receipts string `yaml:"receipt_topics,omitempty"`
}

// ProfileTLS protects connections. Certificates are always verified.
type ProfileTLS struct {
	// Off sends everything in the clear: for a broker on the same machine.
	Off bool `yaml:"off,omitempty"`
	// CA is the authority that signed the brokers' certificates; the system's
	// when empty. Cert and Key are the unit's own, for mutual TLS.
	CA   string `yaml:"ca,omitempty"`
	Cert string `yaml:"cert,omitempty"`
	Key  string `yaml:"key,omitempty"`
}

// ProfileSASL is a login.
type ProfileSASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism    string `yaml:"mechanism,omitempty"`
	User         string `yaml:"user,omitempty"`
	PasswordFile string `yaml:"password_file,omitempty"`
}

// LoadProfile reads a profile strictly and reports all of its problems at once.
func LoadProfile(path string) (*Profile, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the profile: %w", err)
	}
	p := new(Profile)
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("cannot read the profile %s: %w", path, err)
	}
	var bad []error
	wrong := func(when bool, text string) {
		if when {
			bad = append(bad, errors.New(text))
		}
	}
	wrong(p.Unit == "", "unit is empty; write unit: \"310000\"")
	wrong(len(p.Brokers) == 0, "brokers are empty; write brokers: [host:9093]")
	wrong(p.TLS.Off && p.TLS != ProfileTLS{Off: true}, "tls.off stands beside other settings of tls; remove one of them")
	wrong((p.TLS.Cert == "") != (p.TLS.Key == ""), "tls.cert and tls.key belong together")
	switch p.SASL.Mechanism {
	case "":
		wrong(p.SASL != ProfileSASL{}, "sasl has no mechanism; write PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		wrong(p.SASL.User == "" || p.SASL.PasswordFile == "", "sasl needs user and password_file")
		wrong(p.SASL.Mechanism == "PLAIN" && p.TLS.Off, "sasl PLAIN would send the password in the clear with tls.off; use SCRAM or TLS")
	default:
		bad = append(bad, fmt.Errorf("sasl mechanism %q is not known; write PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", p.SASL.Mechanism))
	}
	dir := filepath.Dir(path)
	for _, f := range []struct {
		name string
		path *string
	}{
		{"tls.ca", &p.TLS.CA}, {"tls.cert", &p.TLS.Cert}, {"tls.key", &p.TLS.Key}, {"sasl.password_file", &p.SASL.PasswordFile},
		{"record_key", &p.RecordKey}, {"seal_key", &p.SealKey},
	} {
		if *f.path == "" {
			continue
		}
		if !filepath.IsAbs(*f.path) {
			*f.path = filepath.Join(dir, *f.path)
		}
		if _, err := os.Stat(*f.path); err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	if err := errors.Join(bad...); err != nil {
		return nil, fmt.Errorf("cannot use the profile %s:\n%s", path, indent(err.Error()))
	}
	return p, nil
}

func indent(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }
