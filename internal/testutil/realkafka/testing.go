package realkafka

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// Start runs a cluster for the rest of the test, with its data in t.TempDir(), and returns when it is ready. If the test
// fails, the last lines of the brokers' logs are part of its output. The test is skipped where there is no java or mvn
// and with -short, unless GRADSTREAM_REQUIRE_KAFKA=1.
func Start(t testing.TB, opts Options) *Cluster {
	t.Helper()
	skipIfShort(t)
	dir := t.TempDir() // before Cleanup below: the brokers must end before their folder is removed
	c, err := Run(t.Context(), dir, opts)
	if err != nil {
		skipOrFail(t, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Log())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func required() bool { return os.Getenv("GRADSTREAM_REQUIRE_KAFKA") == "1" }

func skipIfShort(t testing.TB) {
	t.Helper()
	if testing.Short() && !required() {
		t.Skip("starts a real Kafka: not with -short")
	}
}

func skipOrFail(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrUnavailable) && !required() {
		t.Skip(err)
	}
	t.Fatal(err)
}

var shared struct {
	sync.Mutex
	started bool
	cluster *Cluster
	err     error
}

// Shared returns the address of one broker that all tests of this process share and none may harm: topics, groups and
// transactional ids must have names of their own. With GRADSTREAM_TEST_KAFKA=host:port it is that one; otherwise
// the first caller starts it, and it is killed, and its data are removed, when the process ends. It skips and fails like
// [Start].
func Shared(t testing.TB) string {
	t.Helper()
	if addr := os.Getenv("GRADSTREAM_TEST_KAFKA"); addr != "" {
		return addr
	}
	skipIfShort(t)
	shared.Lock()
	defer shared.Unlock()
	if !shared.started {
		shared.cluster, shared.err = startShared()
		shared.started = true
	}
	if shared.err != nil {
		skipOrFail(t, shared.err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(shared.cluster.Log())
		}
	})
	return shared.cluster.Addr()
}

func startShared() (*Cluster, error) {
	dir, err := os.MkdirTemp("", "gradstream-kafka-")
	if err != nil {
		return nil, err
	}
	// Not a test's context: the cluster outlives the test that happens to be first.
	c, err := Run(context.Background(), filepath.Join(dir, "kafka"), Options{})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := clearAfterUs(dir, c.Broker(0).PID()); err != nil {
		return nil, errors.Join(err, c.Close(), os.RemoveAll(dir))
	}
	return c, nil
}

// clearAfterUs starts a shell that waits until this process is gone, however it went, then kills the process pid and removes
// dir. It notices by the end of its input, a pipe that nothing else holds open.
func clearAfterUs(dir string, pid int) error {
	sh, err := exec.LookPath("sh")
	if err != nil {
		return nil // not Unix: the folder for temporary files keeps it
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command(sh, "-c", `trap '' INT TERM HUP; cat >/dev/null; kill -9 "$2" 2>/dev/null; rm -rf "$1"; sleep 1; rm -rf "$1"`,
		"sh", dir, strconv.Itoa(pid))
	cmd.Dir, cmd.Stdin = os.TempDir(), read
	if err := cmd.Start(); err != nil {
		write.Close()
		return err
	}
	sharedPipe = write // keeps it open: a file that becomes garbage is closed
	return cmd.Process.Release()
}

//lint:ignore U1000 it is held open, not read
var sharedPipe *os.File
