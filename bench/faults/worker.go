//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// worker is a `gradstream run` with a state folder of its own, started any number of times.
type worker struct {
	l    *lab
	name string
	dir  string   // of its state
	more []string // arguments
	file string   // pipeline file
	http string   // address of its listener; empty = none

	mu     sync.Mutex
	cmd    *exec.Cmd
	done   chan struct{} // closed when the process is gone
	starts int
	since  int64 // where the latest start's log begins
}

func (w *worker) log() string { return filepath.Join(w.l.dir, w.name+".log") }

// start starts the process. The kernel kills it when this program ends, however it does.
func (w *worker) start() error {
	log, err := os.OpenFile(w.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	at, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	args := append([]string{"run", w.file, "--listen", w.http, "--set", "state.dir=" + w.dir}, w.more...)
	for _, set := range w.l.row.set {
		args = append(args, "--set", set)
	}
	cmd := exec.Command(w.l.suite.binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done, begun := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // the signal comes when this thread ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		begun <- err
		if err == nil {
			_ = cmd.Wait()
			close(done)
		}
	}()
	if err := <-begun; err != nil {
		return err
	}
	w.mu.Lock()
	w.cmd, w.done, w.since = cmd, done, at
	w.starts++
	w.mu.Unlock()
	return nil
}

func (w *worker) running() bool {
	if w.cmd == nil {
		return false
	}
	select {
	case <-w.done:
		return false
	default:
		return true
	}
}

func (w *worker) pid() int { return w.cmd.Process.Pid }

func (w *worker) signal(s syscall.Signal) error { return w.cmd.Process.Signal(s) }

// kill ends the process with SIGKILL and waits until it is gone.
func (w *worker) kill() error {
	if !w.running() {
		return fmt.Errorf("%s is not running, cannot be killed:\n%s", w.name, w.tail())
	}
	err := w.signal(syscall.SIGKILL)
	<-w.done
	return err
}

// killed reports whether the process was ended by SIGKILL.
func (w *worker) killed() bool {
	ws, ok := w.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
}

// stop ends the process with SIGTERM; it has to say that it stopped in good order.
func (w *worker) stop() error {
	if !w.running() {
		return fmt.Errorf("%s ended by itself: %v\n%s", w.name, w.cmd.ProcessState, w.tail())
	}
	_ = w.signal(syscall.SIGTERM)
	code, err := w.wait(35 * time.Second)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit code %d after SIGTERM\n%s", w.name, code, w.tail())
	}
	return err
}

// wait waits for the process to end by itself and returns its exit code.
func (w *worker) wait(most time.Duration) (int, error) {
	select {
	case <-w.done:
		return w.cmd.ProcessState.ExitCode(), nil
	case <-time.After(most):
		return 0, fmt.Errorf("%s does not end in %v\n%s", w.name, most, w.tail())
	}
}

// state returns the state of the process, a letter: T is stopped.
func (w *worker) state() string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.pid()))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[:1]
}

// peak returns the most memory that the process has held, in MiB.
func (w *worker) peak() int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid()))
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		return 0
	}
	kb, _ := strconv.Atoi(string(m[1]))
	return kb >> 10
}

// said returns what the latest start's log holds of a pattern.
func (w *worker) said(pattern string) [][]string {
	text, _ := os.ReadFile(w.log())
	return regexp.MustCompile(pattern).FindAllStringSubmatch(string(text[min(int(w.since), len(text)):]), -1)
}

// saidEver counts a pattern in the logs of all starts.
func (w *worker) saidEver(pattern string) int {
	text, _ := os.ReadFile(w.log())
	return len(regexp.MustCompile(pattern).FindAll(text, -1))
}

// await waits until the latest start's log holds n of a pattern.
func (w *worker) await(ctx context.Context, pattern string, n int, most time.Duration) error {
	for end := time.Now().Add(most); len(w.said(pattern)) < n; {
		if !w.running() {
			return fmt.Errorf("%s ended by itself: %v\n%s", w.name, w.cmd.ProcessState, w.tail())
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("%s did not say %q %d times in %v:\n%s", w.name, pattern, n, most, w.tail())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// replayed sums up how many steps the latest start replayed.
func (w *worker) replayed() (tasks, steps int) {
	for _, m := range w.said(`task restored.* replayed=(\d+)`) {
		n, _ := strconv.Atoi(m[1])
		tasks, steps = tasks+1, steps+n
	}
	return tasks, steps
}

// tail returns the last lines of the log.
func (w *worker) tail() string {
	text, _ := os.ReadFile(w.log())
	return string(text[max(0, len(text)-3000):])
}

// lastError returns the last line that the latest start logged.
func (w *worker) lastError() string {
	lines := strings.Split(strings.TrimSpace(w.tail()), "\n")
	text := lines[len(lines)-1]
	return text[:min(len(text), 300)]
}

// limitMemory forbids the process to have more address space than it has and so many MiB.
func (w *worker) limitMemory(more int) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.pid()))
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`VmSize:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		return fmt.Errorf("the system does not tell its size")
	}
	kb, _ := strconv.Atoi(string(m[1]))
	out, err := exec.Command("prlimit", "--pid", strconv.Itoa(w.pid()), fmt.Sprintf("--as=%d", kb<<10+more<<20)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("prlimit: %w %s", err, out)
	}
	return nil
}
