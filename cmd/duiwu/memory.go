package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// limitMemory gives the runtime a soft limit of nine tenths of what the control
// group grants: near it the heap is collected sooner, instead of the kernel ending
// the process. GOMEMLIMIT wins; without a limit of the group nothing is set. The
// tenth is for what the runtime does not count.
func limitMemory(files ...string) int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		return 0
	}
	if len(files) == 0 {
		files = []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // the other version of control groups, or none
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
		if err != nil || n > math.MaxInt64/2 {
			continue // "max", or version 1's word for it
		}
		n = n / 10 * 9
		debug.SetMemoryLimit(n)
		return n
	}
	return 0
}
