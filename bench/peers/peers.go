// Package peers builds the programs that gradstream is compared with: the same work,
// done with what its users would otherwise take. Each of them reads click events as
// JSON, predicts with a logistic regression over 2^18 hashed features, publishes
// {"id","p"} under the event's key and takes the AdaGrad step (rate 0.1), with one
// model a partition; each says "first record" when it has one, and ends on SIGTERM.
//
// Their sources are in this package and go with the binary. What is built of them is
// kept in the user's cache folder, under the hash of the sources: versions are pinned
// in the pom.xml and in requirements.txt.
package peers

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// FirstRecord is what a peer prints when it begins with the work.
const FirstRecord = "first record"

// ErrUnavailable is wrapped by errors that say that a peer's tools are missing here.
var ErrUnavailable = errors.New("not available here")

// Task is one run of a peer.
type Task struct {
	Brokers, From, To string        // an address; topics that exist
	Group             string        // of consumers; names transactions and members too
	Commit            time.Duration // between commits, or checkpoints
	Dir               string        // for state, if the peer keeps any
}

// Peer is a program that can be built and run.
type Peer struct {
	Name string
	// About says what it is and how it delivers.
	About string
	// Slow peers take ten times as long, and those on the JVM are measured warm: once over many events.
	Slow bool
	// Once is set if it delivers exactly once; the others may repeat, but lose nothing.
	Once  bool
	build func(context.Context) (func(Task) []string, error)
}

// All lists the peers.
var All = []Peer{
	{"gohand", "Go by hand: franz-go, encoding/json, one loop; at least once, the model in memory alone", false, false, buildGo},
	{"kstreams", "Kafka Streams, exactly once v2, an entry of a RocksDB store a weight, 2 threads", true, true, buildStreams},
	{"flink", "Flink in one process, exactly once, heap state, one array a model, parallelism 2", true, true, buildFlink},
	{"vw", "Vowpal Wabbit from Python, 2 processes; at least once, the model in memory alone", true, false, buildPython("vw")},
	{"river", "River, Python, flat dict, 2 processes; at least once, the model in memory alone", true, false, buildPython("river")},
}

// Find returns the peer of a name.
func Find(name string) (Peer, bool) {
	for _, p := range All {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}

// Build makes the peer ready, which takes minutes the first time, and returns how it is run: the program and its arguments.
// The error wraps [ErrUnavailable] if tools are missing.
func (p Peer) Build(ctx context.Context) (func(Task) []string, error) {
	run, err := p.build(ctx)
	if err != nil {
		return nil, fmt.Errorf("peer %s: %w", p.Name, err)
	}
	return run, nil
}

//go:embed kstreams flink jvm moa python
var sources embed.FS

// cached returns a folder in which build has been run on the sources of some folders, now or by an earlier call.
func cached(ctx context.Context, name string, folders []string, build func(ctx context.Context, dir string) error) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder to keep what is built in: %w", err)
	}
	return cachedIn(ctx, filepath.Join(cache, "gradstream", "peers"), name, folders, build)
}

// cachedIn is cached for a given folder.
func cachedIn(ctx context.Context, base, name string, folders []string, build func(ctx context.Context, dir string) error) (string, error) {
	sum := sha256.New()
	for _, folder := range folders {
		err := fs.WalkDir(sources, folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := sources.ReadFile(path)
			fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	dir := filepath.Join(base, fmt.Sprintf("%s-%x", name, sum.Sum(nil)[:6]))
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(dir + ".lock").Lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	built := filepath.Join(dir, "built")
	if _, err := os.Stat(built); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil { // half of a build that was interrupted
		return "", err
	}
	for _, folder := range folders {
		part, err := fs.Sub(sources, folder)
		if err == nil {
			err = os.CopyFS(filepath.Join(dir, folder), part)
		}
		if err != nil {
			return "", err
		}
	}
	if err := build(ctx, dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(built, nil, 0o644)
}

// find returns the path of the first of some programs that is here.
func find(programs ...string) (string, error) {
	var errs []error
	for _, p := range programs {
		path, err := exec.LookPath(p)
		if err == nil {
			return path, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(errs...))
}

// command runs a program of a build in a folder.
func command(ctx context.Context, dir, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, out[max(0, len(out)-4000):])
	}
	return nil
}

func buildGo(ctx context.Context) (func(Task) []string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	// Go's own cache knows what is current.
	binary := filepath.Join(dir, "gradstream", "peers", "gohand")
	if err := command(ctx, ".", "go", "build", "-o", binary, "github.com/gradstream/gradstream/bench/peers/gohand"); err != nil {
		return nil, err
	}
	return func(t Task) []string {
		return []string{binary, "-brokers", t.Brokers, "-from", t.From, "-to", t.To, "-group", t.Group, "-commit", t.Commit.String()}
	}, nil
}

func buildStreams(ctx context.Context) (func(Task) []string, error) { return buildJVM(ctx, "kstreams") }

// buildFlink opens what Flink's serializers reach into.
func buildFlink(ctx context.Context) (func(Task) []string, error) {
	return buildJVM(ctx, "flink", "--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED")
}

func buildJVM(ctx context.Context, name string, options ...string) (func(Task) []string, error) {
	run, err := jvm(ctx, []string{name, "jvm"}, append([]string{"-Xmx1g", "-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"}, options...)...)
	if err != nil {
		return nil, err
	}
	return func(t Task) []string {
		return append(run[:len(run):len(run)], t.Brokers, t.From, t.To, t.Group, strconv.FormatInt(t.Commit.Milliseconds(), 10), t.Dir)
	}, nil
}

// MOA returns the program that goes through a stream with a learner of MOA, and its first arguments: those that follow are as
// python/rivals.py takes them.
func MOA(ctx context.Context) ([]string, error) {
	return jvm(ctx, []string{"moa"}, "-Xmx4g", "-XX:+UseParallelGC")
}

// jvm builds the first of some folders, and returns how its program is run: with the options, and behind what it returns the
// arguments.
func jvm(ctx context.Context, folders []string, options ...string) ([]string, error) {
	name := folders[0]
	program := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		program = filepath.Join(home, "bin", "java")
	}
	java, err := find(program, "java")
	if err != nil {
		return nil, err
	}
	dir, err := cached(ctx, name, folders, func(ctx context.Context, dir string) error {
		mvn, err := find("mvn")
		if err != nil {
			return err
		}
		return command(ctx, filepath.Join(dir, name), mvn, "-q", "-B", "--strict-checksums", "package")
	})
	if err != nil {
		return nil, err
	}
	target := filepath.Join(dir, name, "target")
	path := filepath.Join(target, "peer.jar") + string(filepath.ListSeparator) + filepath.Join(target, "lib", "*")
	return append(append([]string{java, "-XX:-UsePerfData"}, options...), "-cp", path, "peer.Main"), nil
}

func buildPython(engine string) func(context.Context) (func(Task) []string, error) {
	return func(ctx context.Context) (func(Task) []string, error) {
		dir, err := Python(ctx)
		if err != nil {
			return nil, err
		}
		return func(t Task) []string {
			return []string{PythonIn(dir), filepath.Join(dir, "python", "peer.py"), "--engine", engine, "--brokers", t.Brokers,
				"--source", t.From, "--target", t.To, "--group", t.Group, "--commit", strconv.FormatInt(t.Commit.Milliseconds(), 10)}
		}, nil
	}
}

// Python returns a folder with the sources of python/ and an interpreter that has what they need. The wheels that are pinned
// are for Python 3.11, others may do.
func Python(ctx context.Context) (string, error) {
	return cached(ctx, "python", []string{"python"}, func(ctx context.Context, dir string) error {
		python, err := find("python3.11", "python3")
		if err != nil {
			return err
		}
		if err := command(ctx, dir, python, "-m", "venv", "venv"); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return command(ctx, dir, PythonIn(dir), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", filepath.Join("python", "requirements.txt"))
	})
}

// PythonIn returns the interpreter of a folder that [Python] returned.
func PythonIn(dir string) string { return filepath.Join(dir, "venv", "bin", "python") }

// Source returns a file of the sources.
func Source(path string) ([]byte, error) { return sources.ReadFile(path) }
