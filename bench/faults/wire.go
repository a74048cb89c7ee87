package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// wire is a TCP proxy between a worker and one server. It reads what passes, so
// that a fault can be made at an exact moment of the worker's work without a
// hook in the worker: an insert into the ledger is seen as the request that it is.
type wire struct {
	l      net.Listener
	target string
	// talk moves one connection's bytes and names the moments in them.
	talk func(*link)

	mu    sync.Mutex
	links map[*link]bool
	mode  mode
	traps []*trap
	seen  map[string]int // requests by moment, since count
}

// mode is what a wire does to bytes.
type mode struct {
	cut    bool          // connections break and new ones are refused
	frozen bool          // connections are taken and nothing is ever answered on them
	delay  time.Duration // each write waits
	rate   int           // bytes a second, 0 for no limit
}

// side is where in an exchange a trap springs.
type side string

const (
	before side = "before" // the request was made and has not reached the server
	within side = "within" // half of what was sent has reached the server
	after  side = "after"  // the server has done it and its answer has not arrived
)

// trap calls do once, at the nth time that a moment is met. do returns whether
// the bytes that it holds go on.
type trap struct {
	moment string
	side   side
	nth    int
	do     func() (pass bool)
	sprung chan struct{}
}

// link is one connection through a wire.
type link struct {
	w              *wire
	client, server net.Conn
	end            chan struct{}
	once           sync.Once

	mu   sync.Mutex
	dead bool // the network forgot it: both ends wait for ever
}

func newWire(target string, talk func(*link)) (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot listen for a wire: %w", err)
	}
	w := &wire{l: l, target: target, talk: talk, links: map[*link]bool{}}
	go w.accept()
	return w, nil
}

func (w *wire) addr() string { return w.l.Addr().String() }

func (w *wire) accept() {
	for {
		c, err := w.l.Accept()
		if err != nil {
			return
		}
		go w.open(c)
	}
}

func (w *wire) open(c net.Conn) {
	w.mu.Lock()
	m := w.mode
	w.mu.Unlock()
	if m.cut {
		reset(c)
		return
	}
	s, err := net.DialTimeout("tcp", w.target, 5*time.Second)
	if err != nil && !m.frozen {
		reset(c)
		return
	}
	k := &link{w: w, client: c, server: s, end: make(chan struct{}), dead: m.frozen}
	if s == nil {
		// Nobody is there, and a frozen network does not say so.
		k.server = c
	}
	w.mu.Lock()
	w.links[k] = true
	if w.mode.cut { // since this connection was taken
		k.close()
	}
	w.mu.Unlock()
	w.talk(k)
	w.mu.Lock()
	delete(w.links, k)
	w.mu.Unlock()
}

// reset closes a connection so that the other side sees it break.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // the connection may be gone already
	}
	_ = c.Close()
}

func (k *link) close() {
	k.once.Do(func() {
		close(k.end)
		reset(k.client)
		reset(k.server)
	})
}

// set changes what the wire does. Links that a frozen network forgot stay
// forgotten when it thaws.
func (w *wire) set(m mode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mode = m
	for k := range w.links {
		switch {
		case m.cut:
			k.close()
		case m.frozen:
			k.mu.Lock()
			k.dead = true
			k.mu.Unlock()
		}
	}
}

// arm sets a trap; the channel is closed when it sprang and do has returned.
func (w *wire) arm(t trap) <-chan struct{} {
	t.sprung = make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.traps = append(w.traps, &t)
	return t.sprung
}

// disarm takes all traps away and mends the wire.
func (w *wire) disarm() {
	w.mu.Lock()
	w.traps = nil
	w.mu.Unlock()
	w.set(mode{})
}

// due takes the trap that springs now, if there is one.
func (w *wire) due(moment string, s side) *trap {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, t := range w.traps {
		if t.moment != moment || t.side != s {
			continue
		}
		if t.nth--; t.nth > 0 {
			continue
		}
		w.traps = append(w.traps[:i:i], w.traps[i+1:]...)
		return t
	}
	return nil
}

// spring runs what is due; false means that the bytes go nowhere.
func (k *link) spring(moment string, s side) bool {
	t := k.w.due(moment, s)
	if t == nil {
		return true
	}
	defer close(t.sprung)
	if t.do() {
		return true
	}
	k.close()
	return false
}

// count begins to count requests anew.
func (w *wire) count() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = map[string]int{}
}

// counted is how many requests of a moment passed since count.
func (w *wire) counted(moment string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[moment]
}

// request passes what a client sent at a moment.
func (k *link) request(moment string, b []byte) bool {
	k.w.mu.Lock()
	if k.w.seen != nil {
		k.w.seen[moment]++
	}
	k.w.mu.Unlock()
	if !k.spring(moment, before) {
		return false
	}
	k.w.mu.Lock()
	half := false
	for _, t := range k.w.traps {
		half = half || t.moment == moment && t.side == within
	}
	k.w.mu.Unlock()
	if half {
		n := len(b) / 2
		if !k.pass(k.server, b[:n]) || !k.spring(moment, within) {
			return false
		}
		b = b[n:]
	}
	return k.pass(k.server, b)
}

// answer passes what the server said at a moment.
func (k *link) answer(moment string, b []byte) bool {
	return k.spring(moment, after) && k.pass(k.client, b)
}

// pass writes as the wire's mode allows; false ends the link.
func (k *link) pass(to net.Conn, b []byte) bool {
	k.w.mu.Lock()
	m := k.w.mode
	k.w.mu.Unlock()
	k.mu.Lock()
	dead := k.dead
	k.mu.Unlock()
	if dead {
		if to == k.server {
			_, _ = io.Copy(io.Discard, k.client) // until the client gives up
		} else {
			<-k.end
		}
		return false
	}
	if m.delay > 0 && !k.wait(m.delay) {
		return false
	}
	for len(b) > 0 {
		n := len(b)
		if m.rate > 0 {
			n = min(n, max(1, m.rate/20))
			if !k.wait(50 * time.Millisecond) {
				return false
			}
		}
		if _, err := to.Write(b[:n]); err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

func (k *link) wait(d time.Duration) bool {
	select {
	case <-k.end:
		return false
	case <-time.After(d):
		return true
	}
}

// talkHTTP follows ClickHouse's HTTP interface. Clients do not send a request
// before the answer to the last one, so the first bytes after an answer are the
// head of a request.
func talkHTTP(k *link) {
	var mu sync.Mutex
	moment, answered := "", true
	var wg sync.WaitGroup
	wg.Go(func() {
		defer k.close()
		buf := make([]byte, 256<<10)
		for {
			n, err := k.client.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			fresh := answered
			mu.Unlock()
			if !fresh {
				if !k.pass(k.server, buf[:n]) {
					return
				}
				continue
			}
			for !whole(buf[:n]) && n < len(buf) {
				more, err := k.client.Read(buf[n:])
				if err != nil {
					return
				}
				n += more
			}
			m := statement(buf[:n])
			mu.Lock()
			moment, answered = m, false
			mu.Unlock()
			if !k.request(m, buf[:n]) {
				return
			}
		}
	})
	wg.Go(func() {
		defer k.close()
		buf := make([]byte, 64<<10)
		for {
			n, err := k.server.Read(buf)
			if err != nil {
				return
			}
			mu.Lock()
			m, first := moment, !answered
			answered = true
			mu.Unlock()
			ok := true
			if first {
				ok = k.answer(m, buf[:n])
			} else {
				ok = k.pass(k.client, buf[:n])
			}
			if !ok {
				return
			}
		}
	})
	wg.Wait()
}

// whole says whether the head of a request has come, and its body as far as it
// is needed to name the statement: an insert's body is rows and may never end.
func whole(b []byte) bool {
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return false
	}
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	if bytes.Contains(line, []byte("query=INSERT")) {
		return len(body) > 0
	}
	for _, h := range bytes.Split(head, []byte("\r\n")) {
		if v, ok := bytes.CutPrefix(bytes.ToLower(h), []byte("content-length: ")); ok {
			n, err := strconv.Atoi(string(v))
			return err != nil || len(body) >= min(n, 4<<10)
		}
	}
	return len(body) > 0 || !bytes.HasPrefix(line, []byte("POST"))
}

// statement names the moment of a request to ClickHouse.
func statement(b []byte) string {
	head, body, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	line, _, _ := strings.Cut(string(head), "\r\n")
	sql := string(body)
	switch {
	case strings.Contains(line, "query=INSERT"):
		_, table, _ := strings.Cut(line, "INTO+%60")
		table, _, _ = strings.Cut(table, "%60")
		if strings.HasSuffix(table, "_history") {
			return "data insert"
		}
		return strings.TrimSuffix(strings.ReplaceAll(table, "_", " "), "s") + " insert"
	case strings.Contains(line, "wanted_structure="):
		return "dedupe question"
	case strings.Contains(line, "optimize_aggregation_in_order="):
		return "state rebuild"
	case strings.Contains(sql, "argMax(last_sum"):
		return "ledger read"
	case strings.Contains(sql, "FROM claims") && !strings.Contains(sql, "FROM ledger"):
		return "fence question"
	case strings.HasPrefix(sql, "CREATE") || strings.HasPrefix(sql, "ALTER"):
		return migration
	}
	return ""
}

// The requests of Kafka that are moments.
var kafkaMoments = map[int16]string{0: produce, 1: "fetch", 8: "offset commit", 11: "join", 14: "sync", 2: "log bounds", 12: "heartbeat"}

// talkKafka follows Kafka's protocol, whose frames carry their length.
func talkKafka(k *link) {
	var mu sync.Mutex
	asked := map[uint32]string{}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer k.close()
		for {
			f, err := frame(k.client)
			if err != nil || len(f) < 12 {
				return
			}
			m := kafkaMoments[int16(binary.BigEndian.Uint16(f[4:]))]
			mu.Lock()
			asked[binary.BigEndian.Uint32(f[8:])] = m
			mu.Unlock()
			if !k.request(m, f) {
				return
			}
		}
	})
	wg.Go(func() {
		defer k.close()
		for {
			f, err := frame(k.server)
			if err != nil || len(f) < 8 {
				return
			}
			id := binary.BigEndian.Uint32(f[4:])
			mu.Lock()
			m := asked[id]
			delete(asked, id)
			mu.Unlock()
			if m == "fetch" && len(f) < 300 {
				m = "" // no message in it
			}
			if !k.answer(m, f) {
				return
			}
		}
	})
	wg.Wait()
}

// frame reads one frame of Kafka's protocol with its length.
func frame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 64<<20 {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	b := make([]byte, 4+n)
	copy(b, size[:])
	_, err := io.ReadFull(r, b[4:])
	return b, err
}

// drop takes all traps away.
func (w *wire) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.traps = nil
}
