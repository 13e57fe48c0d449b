package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// describe says what the figures were measured on.
func (b *bench) describe() string {
	var w strings.Builder
	fmt.Fprintf(&w, "Measured on %s/%s", runtime.GOOS, runtime.GOARCH)
	if k := firstLine("/proc/sys/kernel/osrelease"); k != "" {
		fmt.Fprintf(&w, ", kernel %s", k)
	}
	fmt.Fprintf(&w, ", %d cores", runtime.NumCPU())
	if m := cpuModel(); m != "" {
		fmt.Fprintf(&w, " (%s)", m)
	}
	fmt.Fprintf(&w, ", %s; go-coap %s", runtime.Version(), versionOf("github.com/plgd-dev/go-coap/v3"))
	if lib, err := os.Readlink("/usr/lib/" + multiarch() + "/libcoap-3-notls.so.3"); err == nil {
		fmt.Fprintf(&w, "; libcoap (%s)", lib)
	}
	w.WriteString(".")
	switch {
	case len(b.serverCore) > 0:
		fmt.Fprintf(&w, " Servers on core %d, load on core %d.", b.serverCore[0], b.loadCore[0])
	case len(b.cores) == 1:
		w.WriteString(" Servers and load share one core, which makes the figures worth little.")
	}
	if load, _, ok := strings.Cut(firstLine("/proc/loadavg"), " "); ok {
		fmt.Fprintf(&w, " Load average before it began: %s.", load)
	}
	if b.most < 10_000 && len(b.cores) > 0 {
		fmt.Fprintf(&w, " The receive buffer allows %d requests on the way at a time, so that clients of larger loads take turns.", b.most)
	}
	fmt.Fprintf(&w, " %s of %s s each.", plural(b.rounds, "round"), number(b.seconds))
	if b.limit != nil {
		fmt.Fprintf(&w, " The C limit is missing, so that what is measured against it is not judged: %v.", b.limit)
	}
	return w.String()
}

const caution = "The absolute figures say little about another machine, or about this one in another hour; " +
	"the ratios, from runs that took turns, say more."

func multiarch() string {
	switch runtime.GOARCH {
	case "arm64":
		return "aarch64-linux-gnu"
	}
	return "x86_64-linux-gnu"
}

func firstLine(file string) string {
	b, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// versionOf returns the version of a module that is linked in.
func versionOf(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				return strings.TrimPrefix(d.Version, "v")
			}
		}
	}
	return "of unknown version"
}
