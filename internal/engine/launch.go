package engine

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"

	"github.com/duiwu/duiwu/internal/engine/child"
)

const childKey = "DUIWU_ENGINE_CHILD"

// launch is what the parent tells the child.
type launch struct {
	Lib, Dir, Listen  string
	HTTPPort, TCPPort int
}

// keeper begins the query that never ends: clickhouse-local lives as long as its
// script, so ending this query is the orderly way to end the server.
const keeper = "SELECT sleepEachRow(1) FROM system.numbers "

const script = `SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; ` +
	keeper + `SETTINGS max_block_size=1, max_rows_to_read=0, max_execution_time=0, ` +
	`function_sleep_max_microseconds_per_block=0, log_queries=0 FORMAT Null`

// Without a terminal clickhouse-local makes an error that leaves the handler of a
// connection the end of the process: a client that resets its connection, or whose
// first packet is no packet, aborts the server
// (https://github.com/ClickHouse/ClickHouse/issues/115666; the mend is in no library
// yet). With a terminal and --interactive it goes on. After the script it
// would then show a prompt, which it refuses to do when it was given a query id, and ends.
var lasting = []string{"--interactive", "--query_id", "keeper", "--progress", "off", "--enable-progress-table-toggle", "0", "--disable_suggestion"}

// Main takes the process over when it was started as an engine child, and then
// never returns; else it does nothing. Call it first thing in main or TestMain.
func Main() {
	var l launch
	if !child.Spec(childKey, &l) {
		return
	}
	if err := l.run(); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (l launch) run() error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	stdin, err := moveStdin()
	if err != nil {
		return err
	}
	cmdline, err := open(l.Lib)
	if err != nil {
		return err
	}
	argv := []string{"clickhouse-local", "--path", filepath.Join(l.Dir, "data"),
		"--listen_host", l.Listen, "--http_port", fmt.Sprint(l.HTTPPort), "--tcp_port", fmt.Sprint(l.TCPPort),
		"--config-file", filepath.Join(l.Dir, "config.xml"), "--query", script}
	argv = append(argv, lasting...)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		cmdline(argv)
	}()

	orders := make(chan os.Signal, 1)
	signal.Notify(orders, syscall.SIGTERM, os.Interrupt)
	eof := make(chan struct{})
	go func() {
		defer close(eof)
		io.Copy(io.Discard, stdin)
	}()
	select {
	case <-ended:
		return errors.New("the engine ended by itself")
	case <-orders:
	case <-eof:
	}
	// Nobody may be left to look after this process: never wait for ever.
	deadline := time.After(30 * time.Second)
	for {
		l.killKeeper()
		select {
		case <-ended:
			return nil
		case <-deadline:
			return errors.New("the engine did not stop in 30 s")
		case <-time.After(500 * time.Millisecond): // the order may have come before the server listened
		}
	}
}

// lock keeps a second engine off the same folder with a message of its own;
// the engine's own lock would say so only after half a second, in C++.
func (l launch) lock() (func(), error) {
	f, err := os.OpenFile(filepath.Join(l.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot use %s: another engine is running on it", l.Dir)
	}
	return func() { f.Close() }, nil
}

func (l launch) killKeeper() {
	pw, err := loadPasswords(l.Dir)
	if err != nil {
		return
	}
	u := endpoint(l.HTTPPort, "admin", pw["admin"], "")
	c := http.Client{Timeout: 5 * time.Second}
	res, err := c.Post(u.String(), "text/plain", strings.NewReader("KILL QUERY WHERE query LIKE '"+keeper+"%' ASYNC"))
	if err == nil {
		res.Body.Close()
	}
}

// moveStdin puts a terminal in the place of stdin, see lasting. A pipe must not stay
// there: clickhouse-local would read it as the data of a table.
func moveStdin() (*os.File, error) {
	fd, err := syscall.Dup(0)
	if err != nil {
		return nil, fmt.Errorf("cannot move stdin: %w", err)
	}
	syscall.CloseOnExec(fd)
	tty, err := terminal()
	if err != nil {
		fmt.Fprintln(os.Stderr, "engine: a client that breaks off may end the server:", err)
		if tty, err = syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
			return nil, fmt.Errorf("cannot move stdin: %w", err)
		}
	}
	defer syscall.Close(tty)
	if err := syscall.Dup3(tty, 0, 0); err != nil {
		return nil, fmt.Errorf("cannot move stdin: %w", err)
	}
	return os.NewFile(uintptr(fd), "stdin"), nil
}

// terminal makes a pseudo terminal that nobody types at, and gives the side of the
// program. The other side stays open: without it this one is a terminal no more.
func terminal() (int, error) {
	other, err := syscall.Open("/dev/ptmx", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot make a terminal: /dev/ptmx: %w", err)
	}
	var locked int32
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(other), syscall.TIOCSPTLCK, uintptr(unsafe.Pointer(&locked))); errno != 0 {
		return 0, fmt.Errorf("cannot make a terminal: cannot unlock it: %w", errno)
	}
	const openPeer = 0x5441 // TIOCGPTPEER, of Linux 4.13
	fd, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(other), openPeer, syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC)
	if errno != 0 {
		return 0, fmt.Errorf("cannot make a terminal: cannot open it: %w", errno)
	}
	return int(fd), nil
}

// open loads the library and gives the entry of clickhouse-local.
func open(lib string) (func(argv []string), error) {
	h, err := purego.Dlopen(lib, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, fmt.Errorf("cannot load the engine: %w", err)
	}
	for _, name := range []string{"chdb_set_signal_handlers_enabled", "chdb_query_cmdline"} {
		if _, err := purego.Dlsym(h, name); err != nil {
			return nil, fmt.Errorf("cannot use %s: %s (it has no %s)", lib, wrongVersion, name)
		}
	}
	var setSignals func(int32)
	var cmdline func(int32, *uintptr) uintptr
	purego.RegisterLibFunc(&setSignals, h, "chdb_set_signal_handlers_enabled")
	purego.RegisterLibFunc(&cmdline, h, "chdb_query_cmdline")
	// Before anything else: its handlers run without SA_ONSTACK, which the Go
	// runtime does not survive.
	setSignals(0)
	return func(argv []string) {
		var pin runtime.Pinner
		defer pin.Unpin()
		ptrs := make([]uintptr, 0, len(argv)+1)
		for _, a := range argv {
			b := append([]byte(a), 0)
			pin.Pin(&b[0])
			ptrs = append(ptrs, uintptr(unsafe.Pointer(&b[0])))
		}
		ptrs = append(ptrs, 0)
		pin.Pin(&ptrs[0])
		cmdline(int32(len(argv)), &ptrs[0])
	}, nil
}

func endpoint(port int, user, password, database string) *url.URL {
	return &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port), User: url.UserPassword(user, password), Path: "/" + database}
}
