package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// onCores calls f, which starts a process, such that the process may run on certain cores only. A program in
// Go that is started so sees no others, and has GOMAXPROCS to fit.
func onCores(cores []int, f func() error) error {
	if len(cores) == 0 {
		return f()
	}
	runtime.LockOSThread() // a child has the affinity of the thread that started it
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return f()
	}
	for _, c := range cores {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return f()
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	return f()
}

// usableCores returns the cores that this process may run on.
func usableCores() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil
	}
	var cores []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cores = append(cores, i)
		}
	}
	return cores
}

// cpuTime returns the CPU time, of user and system, that a process has used. Unlike /proc/PID/stat its clock
// is exact to less than a microsecond. 0 stands for this process.
func cpuTime(pid int) time.Duration {
	clock := int32(unix.CLOCK_PROCESS_CPUTIME_ID)
	if pid != 0 {
		clock = int32(^pid)<<3 | 2 // CPUCLOCK_SCHED of the process, see clock_getcpuclockid
	}
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// residentBytes returns the memory that a process occupies.
func residentBytes(pid int) float64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kib * 1024
		}
	}
	return 0
}

// wantBuffer is the receive buffer that every socket should have, so that a burst of many clients is not lost.
const wantBuffer = 16 << 20

// enlarge gives a socket the largest receive buffer up to wantBuffer that this user may have, and returns
// its size in bytes, as the kernel counts it.
func enlarge(fd int) int {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wantBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, wantBuffer)
	}
	n, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return n
}

// enlargeOf enlarges the buffers of all sockets for datagrams of another process, so that all servers have
// the same ones, whatever they ask for. It returns the smallest, 0 if it may not or found none.
func enlargeOf(pid int) int {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(process)
	smallest := 0
	for i := range 64 {
		fd, err := unix.PidfdGetfd(process, i, 0)
		if err != nil {
			continue
		}
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && kind == unix.SOCK_DGRAM {
			if n := enlarge(fd); smallest == 0 || n < smallest {
				smallest = n
			}
		}
		unix.Close(fd)
	}
	return smallest
}

// probeBuffer returns the receive buffer that this user may have.
func probeBuffer() int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	return enlarge(fd)
}
