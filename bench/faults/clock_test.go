package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sayTime is another process: it answers every line with its clock and with how
// long it has run, in nanoseconds.
func sayTime() {
	begun := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(time.Now().UnixNano(), int64(time.Since(begun)))
	}
}

func TestTheClockOfOneProcessJumps(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DUIWU_SAY_TIME=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait())
	}()
	begun := time.Now()
	f := func(ahead time.Duration) {
		t.Helper()
		_, err := io.WriteString(in, "\n")
		require.NoError(t, err)
		var clock, ran int64
		_, err = fmt.Fscanln(out, &clock, &ran)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(ahead), time.Unix(0, clock), 10*time.Second)
		require.Less(t, time.Duration(ran), time.Since(begun)+10*time.Second, "what only counts on must not jump")
	}
	f(0)
	for _, ahead := range []time.Duration{day, -day, -3650 * day, 0} {
		require.NoError(t, setClock(cmd.Process.Pid, ahead))
		f(ahead)
	}
}
