package main

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// The C limit: what the kernel allows, without any protocol.

//go:embed c/echo.c c/ping.c
var sources embed.FS

// compileLimit compiles the C programs into dir. The error says why the limit is missing.
func compileLimit(dir string) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("the C limit wants Linux")
	}
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	cc, err := exec.LookPath(cc)
	if err != nil {
		return fmt.Errorf("there is no C compiler (cc): install gcc or clang")
	}
	for _, name := range []string{"echo", "ping"} {
		source := filepath.Join(dir, name+".c")
		b, err := sources.ReadFile("c/" + name + ".c")
		if err != nil {
			return err
		}
		if err := os.WriteFile(source, b, 0o600); err != nil {
			return err
		}
		if out, err := exec.Command(cc, "-O2", "-o", filepath.Join(dir, name), source).CombinedOutput(); err != nil {
			return fmt.Errorf("%s does not compile %s.c: %w\n%s", cc, name, err, out)
		}
	}
	return nil
}
