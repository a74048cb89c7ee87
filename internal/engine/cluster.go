package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"time"
)

// ClusterName is the cluster that the servers of a Cluster know each other by.
const ClusterName = "shards"

// Cluster is several servers, one a shard, joined by remote_servers, with one
// address before them as a service has: each request goes to another server.
//
// Two things that a server of a package does this one cannot: it has no worker
// for distributed DDL, and no listener from which replicas fetch parts. So the
// address before them does what the queue of ON CLUSTER statements would: it has a
// server read each as it stands, runs it on all of them one after another, and
// makes Replicated engines plain.
type Cluster struct {
	Shards []*Engine
	front  *http.Server
	addr   string
	turn   atomic.Uint64
}

// StartCluster brings n servers up. o is as for Start, its ports and passwords
// are not looked at.
func StartCluster(ctx context.Context, o Options, n int) (*Cluster, error) {
	const password = "cluster" // each server has to know that of all others before it starts
	o.Passwords = map[string]string{Admin: password}
	ports := make([]int, n)
	at := make([]*int, n)
	for i := range ports {
		at[i] = &ports[i]
	}
	if err := freePorts(at...); err != nil {
		return nil, err
	}
	var shards strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&shards, "<shard><replica><host>127.0.0.1</host><port>%d</port><user>%s</user><password>%s</password></replica></shard>", p, Admin, password)
	}
	c := &Cluster{}
	for i := range n {
		own := o
		own.Dir, own.HTTPPort, own.TCPPort = filepath.Join(o.Dir, fmt.Sprintf("shard-%d", i+1)), 0, ports[i]
		own.ConfigXML += fmt.Sprintf("  <remote_servers><%s>%s</%s></remote_servers>\n  <macros><shard>%d</shard><replica>1</replica></macros>\n",
			ClusterName, shards.String(), ClusterName, i+1)
		e, err := Start(ctx, own)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("shard %d: %w", i+1, err), c.Stop(context.WithoutCancel(ctx)))
		}
		c.Shards = append(c.Shards, e)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot listen for the cluster: %w", err), c.Stop(context.WithoutCancel(ctx)))
	}
	c.addr = l.Addr().String()
	c.front = &http.Server{Handler: http.HandlerFunc(c.serve), ReadHeaderTimeout: 10 * time.Second}
	go c.front.Serve(l)
	return c, nil
}

// DSN of the admin user at the address before the servers.
func (c *Cluster) DSN() string {
	u := url.URL{Scheme: "http", Host: c.addr, User: url.UserPassword(Admin, c.Shards[0].Password(Admin)), Path: "/" + Database}
	return u.String()
}

// Stop ends all servers in order.
func (c *Cluster) Stop(ctx context.Context) error {
	var all []error
	if c.front != nil {
		all = append(all, c.front.Close())
	}
	for _, e := range c.Shards {
		all = append(all, e.Stop(ctx))
	}
	return errors.Join(all...)
}

func (c *Cluster) serve(w http.ResponseWriter, r *http.Request) {
	at := c.Shards[c.turn.Add(1)%uint64(len(c.Shards))]
	if r.URL.Query().Has("session_id") { // a service keeps a session on one server
		at = c.Shards[0]
	}
	// What has its statement in the URL carries rows in the body.
	if !r.URL.Query().Has("query") && r.Method == http.MethodPost && !strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if plain, ok := withoutCluster(body); ok {
			if c.run(w, r, at, append([]byte("EXPLAIN AST "), body...), false) {
				c.everywhere(w, r, plain)
			}
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "http", Host: at.HTTPAddr()}) },
		FlushInterval: -1,
	}
	proxy.ServeHTTP(w, r)
}

// everywhere runs a statement on each server, until one refuses it.
func (c *Cluster) everywhere(w http.ResponseWriter, r *http.Request, statement []byte) {
	for i, e := range c.Shards {
		if !c.run(w, r, e, statement, i == len(c.Shards)-1) {
			return
		}
	}
}

// run runs a statement on one server and says whether it stood. What the server
// answers is passed on if it refused it, or if this is the last one.
func (c *Cluster) run(w http.ResponseWriter, r *http.Request, e *Engine, statement []byte, last bool) bool {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+e.HTTPAddr()+r.URL.RequestURI(), bytes.NewReader(statement))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return false
	}
	req.Header = r.Header.Clone()
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return false
	}
	defer res.Body.Close()
	stood := res.StatusCode == http.StatusOK
	if stood && !last {
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return false
		}
		return true
	}
	for k, v := range res.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body) // whoever asked has gone
	return stood
}

var (
	onCluster  = regexp.MustCompile(" ON CLUSTER `?" + ClusterName + "`?")
	replicated = regexp.MustCompile(`ENGINE = Replicated(\w*MergeTree)\('[^']*', '[^']*'(?:, )?`)
)

func withoutCluster(statement []byte) ([]byte, bool) {
	if !onCluster.Match(statement) {
		return nil, false
	}
	return replicated.ReplaceAll(onCluster.ReplaceAll(statement, nil), []byte("ENGINE = $1(")), true
}
