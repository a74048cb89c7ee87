package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// client speaks to the API server as the administrator.
type client struct {
	server string
	http   *http.Client
}

func newClient(dir string) (*client, error) {
	pki := filepath.Join(dir, "pki")
	cert, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the administrator's certificate: %w", err)
	}
	ca, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the cluster's authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &client{server, &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}}, nil
}

// errNotFound: the server has no such object.
var errNotFound = errors.New("not found")

func (c *client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, nil)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode == http.StatusNotFound:
		return errNotFound
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", path, res.Status)
	case into == nil:
		return nil
	}
	return json.Unmarshal(raw, into)
}

// serveNames answers the pods' questions for names of services. It asks the API
// server each time: for one node that is quick enough, and it is never behind.
func serveNames(ctx context.Context, c *client, conn net.PacketConn) error {
	for {
		buf := make([]byte, 1500)
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("cannot read questions for names: %w", err)
		}
		go func() {
			if out := c.answer(ctx, buf[:n]); out != nil {
				_, _ = conn.WriteTo(out, from) // who asked asks again
			}
		}()
	}
}

// answer is nil for what is no question.
func (c *client) answer(ctx context.Context, raw []byte) []byte {
	var p dnsmessage.Parser
	head, err := p.Start(raw)
	if err != nil || head.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	addrs, err := c.lookup(ctx, strings.ToLower(strings.TrimSuffix(q.Name.String(), ".")))
	out := dnsmessage.Header{ID: head.ID, Response: true, Authoritative: true, RecursionDesired: head.RecursionDesired, RecursionAvailable: true}
	switch {
	case errors.Is(err, errNotFound):
		out.RCode = dnsmessage.RCodeNameError
	case err != nil:
		out.RCode = dnsmessage.RCodeServerFailure
	}
	b := dnsmessage.NewBuilder(nil, out)
	if b.StartQuestions() != nil || b.Question(q) != nil || b.StartAnswers() != nil {
		return nil
	}
	for _, a := range addrs {
		if q.Type != dnsmessage.TypeA || !a.Is4() {
			continue // the name is there, this kind of address is not
		}
		if b.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 2}, dnsmessage.AResource{A: a.As4()}) != nil {
			return nil
		}
	}
	answer, err := b.Finish()
	if err != nil {
		return nil
	}
	return answer
}

const zone = ".svc.cluster.local"

// lookup gives the addresses of service.namespace.svc.cluster.local; of a headless
// one those of its pods, and of pod.service.namespace... that of one pod.
func (c *client) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	parts := strings.Split(strings.TrimSuffix(name, zone), ".")
	if !strings.HasSuffix(name, zone) || len(parts) < 2 || len(parts) > 3 {
		return nil, errNotFound
	}
	host, service, namespace := "", parts[len(parts)-2], url.PathEscape(parts[len(parts)-1])
	if len(parts) == 3 {
		host = parts[0]
	}
	var s struct {
		Spec struct {
			ClusterIP                string
			PublishNotReadyAddresses bool
		}
	}
	if err := c.get(ctx, "/api/v1/namespaces/"+namespace+"/services/"+url.PathEscape(service), &s); err != nil {
		return nil, err
	}
	if s.Spec.ClusterIP != "None" {
		addr, err := netip.ParseAddr(s.Spec.ClusterIP)
		if err != nil || host != "" {
			return nil, errNotFound
		}
		return []netip.Addr{addr}, nil
	}
	var slices struct {
		Items []struct {
			Endpoints []struct {
				Addresses  []string
				Hostname   string
				Conditions struct{ Ready *bool }
			}
		}
	}
	if err := c.get(ctx, "/apis/discovery.k8s.io/v1/namespaces/"+namespace+"/endpointslices?labelSelector=kubernetes.io/service-name%3D"+url.QueryEscape(service), &slices); err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, slice := range slices.Items {
		for _, e := range slice.Endpoints {
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready || s.Spec.PublishNotReadyAddresses
			if !ready || host != "" && host != e.Hostname {
				continue
			}
			for _, a := range e.Addresses {
				if addr, err := netip.ParseAddr(a); err == nil {
					out = append(out, addr)
				}
			}
		}
	}
	if len(out) == 0 {
		return nil, errNotFound
	}
	return out, nil
}
