package kafka

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors"
)

func startEmbedded(t testing.TB, dir, addr string) *Embedded {
	t.Helper()
	b, err := StartEmbedded(t.Context(), EmbeddedOptions{Dir: dir, Addr: addr, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// use makes topics and commits two steps, the second of a task that then lies
// open.
func useEmbedded(t testing.TB, addr string) (e *env, c *Cluster, l *taskLog) {
	e = &env{addr: addr, name: "p"}
	c = e.open(t, 2, nil)
	l = fenced(t, c, 1, "open a")
	mustCommit(t, l, e.step(1, 3, 1))
	mustCommit(t, l, e.step(2, 3, 1))
	return e, c, l
}

// kept checks what useEmbedded left, on a broker started again.
func kept(t testing.TB, addr string) {
	t.Helper()
	e := &env{addr: addr, name: "p"}
	ctx := testContext(t)
	c, err := Open(ctx, Options{Brokers: []string{addr}, Pipeline: e.name, Tasks: 2, Sources: []string{"p.in"}, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, infos, err := c.Describe(ctx, []string{"p.in", "p.out", "p.journal", "p.state"})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range infos {
		if i.Missing || i.Partitions != 2 {
			t.Fatalf("topic %+v", i)
		}
	}
	ps, err := c.Committed(ctx)
	if err != nil || !slices.Equal(ps, []connectors.Position{e.at(1, 2)}) {
		t.Errorf("positions %v %v", ps, err)
	}
	m := fenced(t, c, 1, "open b")
	equal(t, "journal", journal(t, m, connectors.Earliest, m.last), []string{"open a", "step 1", "step 2", "open b"})
	mustCommit(t, m, e.step(3, 1, 1))
	equal(t, "outputs", e.committed(t, "p.out", 1), append(want([]int{1, 2}, 3), "3/0"))
}

func TestEmbeddedKeepsItsData(t *testing.T) {
	dir := t.TempDir()
	if _, err := FindEmbedded(t.Context(), dir); !errors.Is(err, ErrNoEmbedded) {
		t.Errorf("an empty folder: %v", err)
	}
	b := startEmbedded(t, dir, "")
	if !strings.HasPrefix(b.Addr(), "127.0.0.1:") {
		t.Errorf("listens on %s", b.Addr())
	}
	_, c, _ := useEmbedded(t, b.Addr())
	id, _, err := c.Describe(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := FindEmbedded(t.Context(), dir); err != nil || got != b.Addr() {
		t.Errorf("found %s %v, want %s", got, err, b.Addr())
	}
	_, err = StartEmbedded(t.Context(), EmbeddedOptions{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second broker on the folder: %v; want it to name the folder and the process", err)
	}
	c.Close()
	b.Close()
	if _, err := FindEmbedded(t.Context(), dir); !errors.Is(err, ErrNoEmbedded) {
		t.Errorf("after Close: %v", err)
	}

	again := startEmbedded(t, dir, "")
	if again.Addr() != b.Addr() {
		t.Errorf("it was at %s and is now at %s", b.Addr(), again.Addr())
	}
	kept(t, again.Addr())
	c2, err := Open(t.Context(), Options{Brokers: []string{again.Addr()}, Pipeline: "p"})
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	if id2, _, err := c2.Describe(t.Context(), nil); err != nil || id2 != id {
		t.Errorf("the cluster was %q and is now %q, %v", id, id2, err)
	}
}

// The port of before is taken: the broker moves and says where; a port that was
// asked for is an error.
func TestEmbeddedPort(t *testing.T) {
	dir := t.TempDir()
	b := startEmbedded(t, dir, "")
	was := b.Addr()
	b.Close()
	other, err := net.Listen("tcp", was)
	if err != nil {
		t.Skip("the port was taken by someone else at once: ", err)
	}
	defer other.Close()
	if _, err := StartEmbedded(t.Context(), EmbeddedOptions{Dir: dir, Addr: was}); err == nil {
		t.Error("a port that is taken is given")
	}
	moved := startEmbedded(t, dir, "")
	if moved.Addr() == was {
		t.Fatal("two listeners on one port")
	}
	if got, err := FindEmbedded(t.Context(), dir); err != nil || got != moved.Addr() {
		t.Errorf("found %s %v, want %s", got, err, moved.Addr())
	}
	for _, addr := range []string{"0.0.0.0:0", "example.org:1", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"} {
		if _, err := StartEmbedded(t.Context(), EmbeddedOptions{Addr: addr}); err == nil {
			t.Errorf("address %s is taken", addr)
		}
	}
}

// Another broker at the address that the folder remembers is not the folder's.
func TestFindEmbeddedIsNotFooled(t *testing.T) {
	dir := t.TempDir()
	b := startEmbedded(t, dir, "")
	addr := b.Addr()
	b.Close()
	startEmbedded(t, t.TempDir(), addr)
	if got, err := FindEmbedded(t.Context(), dir); !errors.Is(err, ErrNoEmbedded) {
		t.Errorf("found %s %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, brokerDir, brokerFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := FindEmbedded(t.Context(), dir); err == nil || errors.Is(err, ErrNoEmbedded) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged note: %v", err)
	}
}

func TestEmbeddedInMemory(t *testing.T) {
	b := startEmbedded(t, "", "")
	useEmbedded(t, b.Addr())
	c, err := Open(t.Context(), Options{Brokers: []string{b.Addr()}, Pipeline: "p"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := NewProducer(ProducerOptions{Brokers: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Send(t.Context(), "nowhere", connectors.Record{Value: []byte("x")})
	if err := p.Flush(testContext(t)); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("producing to a topic that nobody made: %v", err)
	}
	if _, infos, err := c.Describe(t.Context(), []string{"nowhere"}); err != nil || !infos[0].Missing {
		t.Errorf("it was made: %v %v", infos, err)
	}
}

const childDir = "GRADSTREAM_TEST_EMBEDDED_DIR"

// A process that is killed loses nothing that was committed, and leaves the folder
// free.
func TestEmbeddedKilled(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		b := startEmbedded(t, dir, "")
		_, _, l := useEmbedded(t, b.Addr())
		// One more transaction is open at the end.
		if p, err := sendOnly(testContext(t), l, (&env{name: "p"}).step(9, 3, 1)); err != nil {
			t.Fatal(p, err)
		}
		fmt.Println("\nREADY", b.Addr())
		<-t.Context().Done() // killed before
		return
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestEmbeddedKilled$", "-test.v")
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	addr := ""
	for sc := bufio.NewScanner(out); addr == "" && sc.Scan(); {
		fmt.Sscanf(sc.Text(), "READY %s", &addr)
	}
	if addr == "" {
		cancel()
		t.Fatal("the child never got ready: ", child.Wait())
	}
	if got, err := FindEmbedded(ctx, dir); err != nil || got != addr {
		t.Errorf("found %s %v, want %s", got, err, addr)
	}
	if _, err := StartEmbedded(ctx, EmbeddedOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", child.Process.Pid)) {
		t.Errorf("a second broker: %v; want it to name process %d", err, child.Process.Pid)
	}
	cancel() // kills
	child.Wait()
	b := startEmbedded(t, dir, "")
	kept(t, b.Addr())
	b.Close()
	again := startEmbedded(t, dir, "")
	equal(t, "outputs after one more start", (&env{addr: again.Addr(), name: "p"}).committed(t, "p.out", 1), append(want([]int{1, 2}, 3), "3/0"))
}

func TestProducer(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		const n = 2000
		e.open(t, 3, nil)
		for _, codec := range []string{"none", "lz4"} {
			p, err := NewProducer(ProducerOptions{Brokers: []string{e.addr}, Compression: codec, MaxBuffered: 100, Log: testLog(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			var buf []byte
			for i := range n {
				buf = fmt.Appendf(buf[:0], "%d", i)
				if err := p.Send(testContext(t), e.name+".in", connectors.Record{Key: buf, Value: buf, Time: 1_700_000_000_000}); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Flush(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if p.Acked() != n {
				t.Errorf("%d acknowledged of %d", p.Acked(), n)
			}
		}
		for part := range int32(3) {
			var exp []string
			for range 2 {
				for i := range n {
					if s := fmt.Sprint(i); PartitionForKey([]byte(s), 3) == part {
						exp = append(exp, s)
					}
				}
			}
			equal(t, fmt.Sprint("partition ", part), e.committed(t, e.name+".in", part), exp)
		}
	})
}
