package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected outputs in testdata")

// TestMain lets the test binary stand in for the program: started under its name
// it is the program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gradstream": main})
}

func TestScripts(t *testing.T) {
	flights, err := filepath.Abs("../../examples/flights")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *rewrite,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("FLIGHTS", flights)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code":     scriptCode,
			"bytes":    scriptBytes,
			"replace":  scriptReplace,
			"truncate": scriptTruncate,
		},
	})
}

// scriptCode runs a command and checks its exit code: code 2 gradstream validate.
func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [args...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = strings.TrimPrefix(exit.String(), "exit status ")
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, expected %s", got, args[0])
	}
}

// scriptBytes writes a file with what a script cannot hold: bytes FILE TEXT, in
// which \xNN and \n are escapes, and TEXT*N repeats.
func scriptBytes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: bytes FILE TEXT...")
	}
	var b []byte
	for _, text := range args[1:] {
		b = append(b, unescape(text)...)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}

var escapes = regexp.MustCompile(`\\x[0-9a-f]{2}|\\n|\\\{(.)\*(\d+)\}`)

func unescape(text string) string {
	return escapes.ReplaceAllStringFunc(text, func(e string) string {
		switch e[1] {
		case 'n':
			return "\n"
		case 'x':
			hex := "0123456789abcdef"
			return string([]byte{byte(strings.IndexByte(hex, e[2])<<4 | strings.IndexByte(hex, e[3]))})
		}
		m := escapes.FindStringSubmatch(e)
		n := 0
		for _, c := range m[2] {
			n = n*10 + int(c-'0')
		}
		return strings.Repeat(m[1], n)
	})
}

// scriptReplace rewrites what differs from run to run in the last stdout or in a
// file: replace FILE REGEXP TEXT writes FILE anew.
func scriptReplace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace FILE REGEXP TEXT")
	}
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	text := re.ReplaceAllString(ts.ReadFile(args[0]), args[2])
	name := args[0]
	if name == "stdout" || name == "stderr" {
		name += ".txt"
	}
	ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
}

// scriptTruncate copies the start of a file: truncate FILE BYTES FROM.
func scriptTruncate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: truncate FILE BYTES FROM")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b, err := os.ReadFile(args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b[:n], 0o644))
}

// command is the program with these arguments, to be started.
func command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Args[0] = "gradstream"
	c.Env = os.Environ()
	return c
}

// output runs the program and returns what it printed; it must succeed.
func output(t testing.TB, env []string, args ...string) string {
	t.Helper()
	c := command(t.Context(), args...)
	c.Env = append(c.Env, env...)
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	if err := c.Run(); err != nil {
		t.Fatalf("gradstream %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return out.String()
}

// process is the program running beside the test.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  lockedBuffer
	done chan struct{}
	err  error
	args []string
}

// lockedBuffer is a buffer that may be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// launch starts the program; it is killed when the test ends.
func launch(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: command(context.Background(), args...), done: make(chan struct{}), args: args}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("gradstream %s:\n%s", strings.Join(args, " "), tail(p.log.String(), 60))
		}
	})
	return p
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// waitLog waits until the log has a match and returns it with its groups.
func (p *process) waitLog(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if m := re.FindStringSubmatch(p.log.String()); m != nil {
			return m
		}
		select {
		case <-p.done:
			if m := re.FindStringSubmatch(p.log.String()); m != nil {
				return m
			}
			p.t.Fatalf("gradstream ended (%v) without logging %s:\n%s", p.err, pattern, p.log.String())
		default:
		}
	}
	p.t.Fatalf("no log line matches %s within a minute:\n%s", pattern, p.log.String())
	return nil
}

// kill ends the process as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop asks the process to end and returns its exit code.
func (p *process) stop() int {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait()
}

// wait waits for the process to end and returns its exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.done
		p.t.Fatalf("gradstream %s did not end within a minute:\n%s", strings.Join(p.args, " "), p.log.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// The tests of the example hold.
func TestExampleTests(t *testing.T) {
	out := output(t, nil, "test", flightsFile)
	if !strings.Contains(out, "4 tests, 0 failed\n") {
		t.Error(out)
	}
}
