package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs the certificates of one cluster; it is gone with it.
type authority struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{dir: dir, key: key}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "duiwu-cluster"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	if a.cert, err = a.sign("ca", template, template, key); err != nil {
		return nil, err
	}
	return a, nil
}

// issue writes NAME.crt and NAME.key for who (its group is a Kubernetes group).
func (a *authority) issue(name, who, group string, ips ...net.IP) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	subject := pkix.Name{CommonName: who}
	if group != "" {
		subject.Organization = []string{group}
	}
	_, err = a.sign(name, &x509.Certificate{
		Subject: subject, IPAddresses: ips,
		DNSNames:    []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, key)
	return err
}

func (a *authority) sign(name string, template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign the certificate %s: %w", name, err)
	}
	raw, err := x509.MarshalECPrivateKey(key) // the API server reads its key for tokens in no other form
	if err != nil {
		return nil, err
	}
	for file, block := range map[string]*pem.Block{name + ".crt": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, fmt.Errorf("cannot write a certificate: %w", err)
		}
	}
	return x509.ParseCertificate(der)
}

// kubeconfig writes NAME.kubeconfig, which comes to the server as NAME.crt says.
func (a *authority) kubeconfig(name, server string) error {
	file := func(f string) string { return filepath.Join(a.dir, f) }
	raw, err := json.MarshalIndent(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "duiwu",
		"clusters": []any{map[string]any{"name": "duiwu", "cluster": map[string]any{"server": server, "certificate-authority": file("ca.crt")}}},
		"users":    []any{map[string]any{"name": "duiwu", "user": map[string]any{"client-certificate": file(name + ".crt"), "client-key": file(name + ".key")}}},
		"contexts": []any{map[string]any{"name": "duiwu", "context": map[string]any{"cluster": "duiwu", "user": "duiwu"}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file(name+".kubeconfig"), raw, 0o600)
}
