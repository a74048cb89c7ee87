// Package usage says what a process has taken of the machine, as Linux tells it.
package usage

import (
	"fmt"
	"time"

	"github.com/prometheus/procfs"
)

// CPU is the processor time that a process has used, in steps of 10 ms.
func CPU(pid int) (time.Duration, error) {
	var s procfs.ProcStat
	p, err := procfs.NewProc(pid)
	if err == nil {
		s, err = p.Stat()
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the CPU time of process %d: %w", pid, err)
	}
	return time.Duration(s.CPUTime() * float64(time.Second)), nil
}

// Peak is the most memory that a process has held at once, in bytes.
func Peak(pid int) (int64, error) {
	var s procfs.ProcStatus
	p, err := procfs.NewProc(pid)
	if err == nil {
		s, err = p.NewStatus()
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the memory of process %d: %w", pid, err)
	}
	return int64(s.VmHWM), nil
}
