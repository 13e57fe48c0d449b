package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A process is a server or a load that was started for one run.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr netip.AddrPort
	errs *tail
}

// tail keeps the end of what a process says to standard error.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-2000):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// start starts a program on certain cores, none meaning all.
func start(ctx context.Context, cores []int, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, name, args...), errs: &tail{}}
	p.cmd.Stderr = p.errs
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := onCores(cores, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// startSelf runs this program again, in a role that main knows.
func startSelf(ctx context.Context, cores []int, role string, task any) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	return start(ctx, cores, self, role, string(arg))
}

// awaitListening reads the line in which a server says where it listens.
func (p *process) awaitListening() (*process, error) {
	line, err := p.line()
	if err == nil {
		where, ok := strings.CutPrefix(line, "listening ")
		if p.addr, err = netip.ParseAddrPort(where); ok && err == nil {
			return p, nil
		}
		err = fmt.Errorf("%s says %q instead of where it listens", p.cmd.Path, line)
	}
	p.stop()
	return nil, err
}

// line returns the next line that the process prints.
func (p *process) line() (string, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		_ = p.cmd.Wait()
		return "", fmt.Errorf("%s has ended early: %s", strings.Join(p.cmd.Args, " "), p.errs)
	}
	return strings.TrimSpace(line), nil
}

// result decodes the line of JSON that the process prints.
func (p *process) result(v any) error {
	line, err := p.line()
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(line), v)
}

// ask sends a command to a server of ours and decodes what it answers.
func (p *process) ask(command string, v any) error {
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		return err
	}
	return p.result(v)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process and waits for it.
func (p *process) stop() {
	p.in.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// runSelf runs this program in a role to its end and decodes its result.
func runSelf(ctx context.Context, cores []int, role string, task, result any) error {
	p, err := startSelf(ctx, cores, role, task)
	if err != nil {
		return err
	}
	defer p.stop()
	return p.result(result)
}

// untilClosed answers commands on standard input until it is closed, which is when the parent ends.
func untilClosed(answer func(command string) any) {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		reply(answer(in.Text()))
	}
}

// reply prints a line of JSON.
func reply(v any) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// freePort returns a UDP port that nobody has at the moment.
func freePort() (uint16, error) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
}

// awaitAnswer asks a server that does not say when it is ready until it answers.
func awaitAnswer(addr netip.AddrPort) error {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range 100 {
		_, _ = c.Write([]byte{0x40, 0, 0, byte(i)}) // a CoAP ping
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		start := time.Now()
		if _, err := c.Read(make([]byte, 64)); err == nil {
			return nil
		}
		time.Sleep(time.Until(start.Add(20 * time.Millisecond))) // it may be refused at once
	}
	return errors.New("the server at " + addr.String() + " does not answer")
}
