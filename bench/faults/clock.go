package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process reads the clock through the vDSO, a page of code that the kernel
// maps into it. setClock changes that page in one running process, so the
// production binary meets a clock that jumps as it would when somebody sets its
// machine's: no hook in it, and no other process sees it. Time that only counts
// on (CLOCK_MONOTONIC) stays as it is, as it does when a clock is set.
//
// The code below is called with the clock's number in edi and the address of a
// timespec in rsi. It lies in the empty end of the vDSO with the seconds that it
// adds behind it; the function of the kernel jumps there.
var movedClockCode = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov  $228, %eax   (clock_gettime)
	0x0f, 0x05, // syscall
	0x85, 0xff, // test %edi, %edi
	0x75, 0x0a, // jnz  past the addition: not CLOCK_REALTIME
	0x48, 0x8b, 0x0d, 0x06, 0x00, 0x00, 0x00, // mov  6(%rip), %rcx
	0x48, 0x01, 0x0e, // add  %rcx, (%rsi)
	0xc3,       // ret
	0x90, 0x90, // so that the seconds are aligned
}

// errGone: the process has ended, so it has no clock.
var errGone = errors.New("the process is gone")

// setClock makes the clock of a process differ from the machine's by a number of
// seconds. The process stands still meanwhile, so no thread sees half a jump.
func setClock(pid int, by time.Duration) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return errGone
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }() // it may be gone meanwhile
	if err := stands(pid); err != nil {
		return err
	}
	low, image, mem, err := vdso(pid)
	if err != nil {
		return err
	}
	defer mem.Close()
	entry, err := clockGettime(image)
	if err != nil {
		return err
	}
	// From here to its end the image was empty when the kernel made it.
	at := (len(image) - len(movedClockCode) - 16) &^ 15
	code := binary.LittleEndian.AppendUint64(bytes.Clone(movedClockCode), uint64(int64(by/time.Second)))
	if held := image[at : at+len(movedClockCode)]; !bytes.Equal(held, movedClockCode) && !bytes.Equal(held, make([]byte, len(held))) {
		return errors.New("the vDSO of this kernel has no room at its end")
	}
	jump := binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(int32(at-int(entry)-5)))
	_, err = mem.WriteAt(code, low+int64(at))
	if err == nil {
		_, err = mem.WriteAt(jump, low+int64(entry))
	}
	if err != nil {
		return fmt.Errorf("cannot change the vDSO of process %d: %w", pid, err)
	}
	return nil
}

// stands waits until every thread of a process is stopped.
func stands(pid int) error {
	for range 2000 {
		still := true
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(tasks) == 0 {
			return errGone
		}
		for _, task := range tasks {
			raw, err := os.ReadFile(task)
			_, state, ok := strings.Cut(string(raw), ") ")
			if ok && strings.HasPrefix(state, "Z") {
				return errGone
			}
			still = still && (err != nil || ok && strings.HasPrefix(state, "T"))
		}
		if still {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("process %d does not stand still", pid)
}

// vdso reads the image of a process's vDSO and where it lies.
func vdso(pid int) (low int64, image []byte, mem *os.File, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, nil, nil, err
	}
	for _, line := range strings.Split(string(maps), "\n") {
		if !strings.HasSuffix(line, "[vdso]") {
			continue
		}
		span, _, _ := strings.Cut(line, " ")
		from, to, _ := strings.Cut(span, "-")
		low, err1 := strconv.ParseInt(from, 16, 64)
		high, err2 := strconv.ParseInt(to, 16, 64)
		if err := errors.Join(err1, err2); err != nil {
			return 0, nil, nil, err
		}
		mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
		if err != nil {
			return 0, nil, nil, err
		}
		image := make([]byte, high-low)
		if _, err := mem.ReadAt(image, low); err != nil {
			return 0, nil, nil, errors.Join(err, mem.Close())
		}
		return low, image, mem, nil
	}
	return 0, nil, nil, fmt.Errorf("process %d has no vDSO", pid)
}

// clockGettime finds the function in the image of a vDSO.
func clockGettime(image []byte) (uint64, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, fmt.Errorf("cannot read the vDSO: %w", err)
	}
	if f.Machine != elf.EM_X86_64 {
		return 0, fmt.Errorf("the code that moves a clock is for x64, not %s", f.Machine)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return 0, fmt.Errorf("cannot read the vDSO: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return s.Value, nil
		}
	}
	return 0, errors.New("the vDSO has no clock_gettime")
}
