package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that is measured.
type process struct {
	cmd   *exec.Cmd
	begun time.Time
	done  chan struct{}
	err   error // how it ended; set before done closes

	mu    sync.Mutex
	text  []byte    // what it printed, the last of it
	first time.Time // when it said that it has its first record
	live  chan struct{}

	family []string // process ids, its own first
}

// start runs a program whose output holds the mark when it begins with the work.
func start(mark string, env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{}), live: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.begun = time.Now()
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	go func() {
		defer r.Close()
		p.read(r, mark)
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) read(r io.Reader, mark string) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		now := time.Now()
		p.mu.Lock()
		p.text = append(p.text, buf[:n]...)
		if p.first.IsZero() && bytes.Contains(p.text, []byte(mark)) {
			p.first = now
			close(p.live)
		}
		if len(p.text) > 64<<10 {
			p.text = append(p.text[:0], p.text[len(p.text)-32<<10:]...)
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.text[max(0, len(p.text)-4000):])
}

func (p *process) firstRecord() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first
}

// stop ends the process in good order.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		return errors.Join(fmt.Errorf("it did not end within 20 s of SIGTERM\n%s", p.output()), p.kill())
	}
	if p.err != nil && p.cmd.ProcessState.ExitCode() != bySIGTERM {
		return fmt.Errorf("%w\n%s", p.err, p.output())
	}
	return nil
}

// bySIGTERM is the exit status of a Java that was ended in good order.
const bySIGTERM = 128 + int(syscall.SIGTERM)

// kill ends the process at once, and those that it has started.
func (p *process) kill() error {
	for _, pid := range slices.Backward(p.pids()) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		q, err := os.FindProcess(n)
		if err == nil {
			err = q.Kill()
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	<-p.done
	return nil
}

// pids returns the ids of the process and of those that it has started, which it does before its first record.
func (p *process) pids() []string {
	known := !p.firstRecord().IsZero()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.family == nil || !known {
		own := strconv.Itoa(p.cmd.Process.Pid)
		children, _ := os.ReadFile(filepath.Join("/proc", own, "task", own, "children")) // "" where there is none
		family := append([]string{own}, strings.Fields(string(children))...)
		if !known {
			return family
		}
		p.family = family
	}
	return p.family
}

// cpu returns the processor seconds used so far, 0 where there is no /proc.
func (p *process) cpu() float64 {
	sum := 0.0
	for _, pid := range p.pids() {
		sum += cpuOf(pid)
	}
	return sum
}

func ownCPU() float64 { return cpuOf("self") }

const userHz = 100 // the unit of times in /proc, on every architecture that Go runs on

func cpuOf(pid string) float64 {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return 0
	}
	// The second field, the command in parentheses, may hold anything.
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / userHz
}

// machineBusy returns the processor seconds that all processes have used.
func machineBusy() float64 {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal
	if len(f) < 9 {
		return 0
	}
	busy := 0.0
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		x, _ := strconv.ParseFloat(f[i], 64)
		busy += x
	}
	return busy / userHz
}

// peakMemory returns the greatest resident size of the process so far, in MiB; the sum of several.
func (p *process) peakMemory() float64 {
	sum := 0.0
	for _, pid := range p.pids() {
		sum += procField(filepath.Join("/proc", pid, "status"), "VmHWM:") / 1024
	}
	return sum
}

// procField returns the first number behind the name of a field.
func procField(file, name string) float64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), name)
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	x, _ := strconv.ParseFloat(f[0], 64)
	return x
}
