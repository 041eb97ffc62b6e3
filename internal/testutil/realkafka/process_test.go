package realkafka

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// processLives reports whether a process runs; one that is dead and not yet collected does not.
func processLives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// childEnv makes TestChild do its part in a process of its own.
const childEnv = "REALKAFKA_TEST_CHILD"

// TestChild is run by other tests in another process; it is nothing by itself.
func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		return
	}
	addr := Shared(t)
	if again := Shared(t); again != addr {
		t.Fatalf("Shared gives %s, then %s", addr, again)
	}
	fmt.Printf("child: %d %s\n", shared.cluster.Broker(0).PID(), filepath.Dir(filepath.Dir(shared.cluster.dir)))
	if os.Getenv(childEnv) == "hang" {
		time.Sleep(time.Hour)
	}
}

// child returns a command that runs one test of this binary in another process.
func child(t *testing.T, test string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(testContext(t), self, "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// The broker must not outlive the test binary, however that ends, nor may its data.
func TestNothingIsLeft(t *testing.T) {
	skipIfShort(t)
	if _, err := java(); err != nil {
		skipOrFail(t, err)
	}
	if runtime.GOOS != "linux" {
		t.Skip("looks into /proc")
	}
	for _, end := range []string{"killed", "ends"} {
		t.Run(end, func(t *testing.T) {
			mode := "return"
			if end == "killed" {
				mode = "hang"
			}
			cmd := child(t, "TestChild", childEnv+"="+mode, "GRADSTREAM_TEST_KAFKA=", "TMPDIR="+t.TempDir())
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var pid int
			var dir string
			for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
				if n, _ := fmt.Sscanf(lines.Text(), "child: %d %s", &pid, &dir); n != 2 {
					t.Log(lines.Text())
				}
			}
			if pid == 0 {
				t.Fatal("the child started no broker: ", cmd.Wait())
			}
			if !strings.HasPrefix(filepath.Base(dir), "gradstream-kafka-") {
				t.Fatalf("unexpected folder %q", dir)
			}
			if mode == "hang" {
				if !processLives(pid) || !isDir(dir) {
					t.Fatalf("broker %d or its folder %s is not there while the child is", pid, dir)
				}
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			cmd.Wait()
			ctx := testContext(t)
			for processLives(pid) || isDir(dir) {
				select {
				case <-ctx.Done():
					t.Fatalf("broker %d lives: %v, its folder exists: %v", pid, processLives(pid), isDir(dir))
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
}

func TestSharedByEnvironment(t *testing.T) {
	t.Setenv("GRADSTREAM_TEST_KAFKA", "broker.example:9092")
	if got := Shared(t); got != "broker.example:9092" {
		t.Errorf("Shared gives %q", got)
	}
}

func TestSkips(t *testing.T) {
	if _, err := exec.LookPath("java"); err != nil {
		t.Skip("tells java from mvn: ", err)
	}
	// A path with java and nothing else.
	onlyJava := t.TempDir()
	javaPath, _ := exec.LookPath("java")
	if err := os.Symlink(javaPath, filepath.Join(onlyJava, "java")); err != nil {
		t.Skip(err)
	}
	for _, test := range []struct {
		name   string
		args   []string
		env    []string
		ok     bool
		prints []string
	}{
		{"no java", nil, []string{"PATH="}, true, []string{"--- SKIP: TestOneBroker", "needs java and mvn", `"java"`}},
		{"no java, required", nil, []string{"PATH=", "GRADSTREAM_REQUIRE_KAFKA=1"}, false, []string{"--- FAIL: TestOneBroker", "needs java and mvn"}},
		{"no mvn", nil, []string{"PATH=" + onlyJava, "XDG_CACHE_HOME=" + t.TempDir(), "HOME=" + t.TempDir()}, true,
			[]string{"--- SKIP: TestOneBroker", "needs java and mvn", `"mvn"`}},
		{"short", []string{"-test.short"}, nil, true, []string{"--- SKIP: TestOneBroker", "not with -short"}},
		{"short, required", []string{"-test.short"}, []string{"PATH=", "GRADSTREAM_REQUIRE_KAFKA=1"}, false, []string{"--- FAIL: TestOneBroker"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := child(t, "TestOneBroker", append([]string{"JAVA_HOME=", "GRADSTREAM_REQUIRE_KAFKA="}, test.env...)...)
			cmd.Args = append(cmd.Args, test.args...)
			out, err := cmd.CombinedOutput()
			if ok := err == nil; ok != test.ok {
				t.Errorf("passed: %v, want %v", ok, test.ok)
			}
			for _, want := range test.prints {
				if !strings.Contains(string(out), want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
}

// fakeMaven puts a script in mvn's place that counts its runs in a file, whose path it returns, and does as it is told.
func fakeMaven(t *testing.T, does string) (runs string) {
	t.Helper()
	bin := t.TempDir()
	runs = filepath.Join(bin, "runs")
	script := "#!/bin/sh\necho run >>'" + runs + "'\nfor a; do case $a in -DoutputDirectory=*) out=${a#*=};; esac; done\n" + does + "\n"
	if err := os.WriteFile(filepath.Join(bin, "mvn"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	return runs
}

func TestJarsAreCopiedOnce(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stand-in for mvn is a shell script")
	}
	runs := fakeMaven(t, `mkdir "$out" && echo a >"$out/a.jar" && sleep 0.2 && echo b >"$out/b.jar"`)
	cache := t.TempDir()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			dir, err := jarsIn(t.Context(), cache)
			if err != nil {
				t.Error(err)
				return
			}
			if !strings.HasPrefix(dir, filepath.Join(cache, "gradstream", "kafka-"+Version())) {
				t.Errorf("jars in %s", dir)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "b.jar")); err != nil || string(b) != "b\n" {
				t.Errorf("jars given out before they are complete: %q, %v", b, err)
			}
		})
	}
	wg.Wait()
	if b, _ := os.ReadFile(runs); string(b) != "run\n" {
		t.Errorf("mvn ran %d times, want once", strings.Count(string(b), "\n"))
	}
	mustHaveNoWork(t, cache)
}

func TestJarsFailure(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stand-in for mvn is a shell script")
	}
	runs := fakeMaven(t, `mkdir "$out"; echo a >"$out/a.jar"; echo "[ERROR] no such artifact"; exit 1`)
	cache := t.TempDir()
	for range 2 { // a failure is not remembered
		_, err := jarsIn(t.Context(), cache)
		if err == nil || !strings.Contains(err.Error(), "[ERROR] no such artifact") {
			t.Errorf("got %v, want what mvn printed", err)
		}
		if errors.Is(err, ErrUnavailable) {
			t.Error("a failed download counts as a missing mvn: it would be skipped")
		}
	}
	if b, _ := os.ReadFile(runs); string(b) != "run\nrun\n" {
		t.Errorf("mvn's runs: %q", b)
	}
	mustHaveNoWork(t, cache)
}

func mustHaveNoWork(t *testing.T, cache string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(cache, "gradstream", "*", "copy-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestJavaMajor(t *testing.T) {
	for _, test := range []struct {
		out  string
		want int
		ok   bool
	}{
		{`openjdk version "17.0.15" 2025-04-15`, 17, true},
		{`java version "1.8.0_392"`, 8, true},
		{"Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"21\" 2023-09-19", 21, true},
		{"something else", 0, false},
	} {
		if got, ok := javaMajor([]byte(test.out)); got != test.want || ok != test.ok {
			t.Errorf("%q: %d, %v; want %d, %v", test.out, got, ok, test.want, test.ok)
		}
	}
}

func TestVersionIsPinned(t *testing.T) {
	if Version() == "" || strings.ContainsAny(Version(), "[](,) ") {
		t.Errorf("version %q", Version())
	}
}

// The command prints one line, the address, and ends in good order when it is asked to.
func TestCommand(t *testing.T) {
	skipIfShort(t)
	if _, err := java(); err != nil {
		skipOrFail(t, err)
	}
	if runtime.GOOS == "windows" {
		t.Skip("sends an interrupt")
	}
	ctx := testContext(t)
	bin := filepath.Join(t.TempDir(), "kafkabroker")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "./cmd/kafkabroker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tmp := t.TempDir()
	cmd := exec.CommandContext(ctx, bin, "-set", "num.partitions=5")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("no address: ", cmd.Wait())
	}
	if levels := finalizedFeatures(t, ctx, lines.Text()); levels["transaction.version"] != 2 {
		t.Errorf("features %v at %s", levels, lines.Text())
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if lines.Scan() {
		t.Errorf("prints more: %q", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	wrong := exec.CommandContext(ctx, bin, "extra")
	if out, err := wrong.CombinedOutput(); err == nil || wrong.ProcessState.ExitCode() != 2 {
		t.Errorf("an argument too many: %v, want exit status 2\n%s", err, out)
	}
}
