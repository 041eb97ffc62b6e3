package realkafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Broker is one process of a [Cluster].
type Broker struct {
	cluster              *Cluster
	id                   int // node.id
	port, controllerPort int
	peerPort             int // that of clients unless addresses are advertised
	dir                  string

	mu   sync.Mutex
	proc *process      // the latest start; nil before the first
	used time.Duration // processor time of the starts before it
}

// process is one run of a program. Its goroutine is locked to the thread that started it, because Linux sends the
// parent-death signal when that thread ends, not when the process does.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the process is gone and cmd.ProcessState is set
}

// WaitGoroutine is the function that the goroutine of every running broker is in, for leak checks that have to let it
// pass because a broker of [Shared] outlives the tests: goleak.IgnoreAnyFunction(realkafka.WaitGoroutine).
const WaitGoroutine = "github.com/gradstream/gradstream/internal/testutil/realkafka.(*process).run"

func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.cmd.Wait() // how it ended is in ProcessState
	close(p.done)
}

// alive reports whether the process, nil for none, has not been seen to end.
func (p *process) alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Addr returns the address that the broker listens on for clients, host:port, whatever it advertises.
func (b *Broker) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) }

// PeerAddr returns the address that other brokers use where none is advertised to them.
func (b *Broker) PeerAddr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.peerPort)) }

// ID returns the broker's node id in Kafka.
func (b *Broker) ID() int { return b.id }

// PID returns the id of the broker's process, 0 if it is not running.
func (b *Broker) PID() int {
	if p := b.running(); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

func (b *Broker) config() string { return filepath.Join(b.dir, "server.properties") }

func (b *Broker) logFile() string { return filepath.Join(b.dir, "log") }

// launch starts the process and does not wait for it.
func (b *Broker) launch() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc.alive() {
		return fmt.Errorf("broker %d is running", b.id)
	}
	log, err := os.OpenFile(b.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	args := []string{
		fmt.Sprintf("-Xmx%dm", b.cluster.opts.HeapMB),
		// As Kafka's own start script has it.
		"-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
		"-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData", "-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true",
		"-Dlog4j2.configurationFile=" + filepath.Join(b.cluster.dir, "broker-log4j2.xml"),
	}
	args = append(args, b.cluster.opts.JVMArgs...)
	args = append(args, "-cp", filepath.Join(b.cluster.jars, "*"), "kafka.Kafka", b.config())
	cmd := exec.Command(b.cluster.java, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = b.dir, log, log, dieWithParent()
	if b.proc != nil {
		b.used += ended(b.proc)
		b.proc = nil
	}
	p, err := startProcess(cmd)
	if err != nil {
		return fmt.Errorf("start broker %d: %w", b.id, err)
	}
	b.proc = p
	return nil
}

// ended returns the processor time of a process that is gone.
func ended(p *process) time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// latest returns the broker's latest process, running or not.
func (b *Broker) latest() *process {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.proc
}

// running returns the broker's process, nil if it has none that lives.
func (b *Broker) running() *process {
	if p := b.latest(); p.alive() {
		return p
	}
	return nil
}

func (b *Broker) cpu() time.Duration {
	b.mu.Lock()
	used, p := b.used, b.proc
	b.mu.Unlock()
	if p == nil {
		return used
	}
	now, err := cpuTime(p.cmd.Process.Pid)
	if !p.alive() { // and the number may be another process's by now
		return used + ended(p)
	}
	if err != nil {
		return used
	}
	return used + now
}

var errPortTaken = errors.New("port taken")

// awaitReady waits until the broker itself answers and counts at least n brokers and a controller.
func (b *Broker) awaitReady(ctx context.Context, n int) error {
	p := b.latest()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.DialTimeout(time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	last := errors.New("no answer yet")
	for {
		err := b.ready(ctx, client, n)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-p.done:
			err := fmt.Errorf("broker %d ended while it started: %v\n%s", b.id, p.cmd.ProcessState, b.Log())
			// Kafka says so where it happens and then much more while it stops.
			if log, _ := os.ReadFile(b.logFile()); bytes.Contains(log, []byte("Address already in use")) {
				err = fmt.Errorf("%w: %w", errPortTaken, err)
			}
			return err
		case <-ctx.Done():
			return fmt.Errorf("broker %d does not become ready: %w: %w\n%s", b.id, ctx.Err(), last, b.Log())
		}
	}
}

// ready asks the broker once whether it is what awaitReady waits for.
func (b *Broker) ready(ctx context.Context, client *kgo.Client, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	// A quick look first: the client's own retries wait longer than a start takes.
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", b.Addr())
	if err != nil {
		return err
	}
	conn.Close()
	// To the seed, not through the client, which would answer from its memory or ask any broker it has heard of.
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none; nil means all
	resp, err := client.SeedBrokers()[0].Request(ctx, req)
	if err != nil {
		return err
	}
	meta := resp.(*kmsg.MetadataResponse)
	if meta.ClusterID == nil || *meta.ClusterID != b.cluster.id {
		return errors.New("another cluster answers at the address")
	}
	if len(meta.Brokers) < n || meta.ControllerID < 0 {
		return fmt.Errorf("knows %d brokers of %d, controller %d", len(meta.Brokers), n, meta.ControllerID)
	}
	if !slices.ContainsFunc(meta.Brokers, func(peer kmsg.MetadataResponseBroker) bool { return int(peer.NodeID) == b.id }) {
		return errors.New("does not know itself")
	}
	return nil
}

// Kill ends the broker at once (SIGKILL), paused or not, and waits until the process is gone: a crash. No error if it
// is not running.
func (b *Broker) Kill() error {
	p := b.running()
	if p == nil {
		return nil
	}
	if err := p.signal(os.Kill); err != nil {
		return fmt.Errorf("kill broker %d: %w", b.id, err)
	}
	<-p.done
	return nil
}

// stopTimeout is how long a broker may take to stop in good order.
const stopTimeout = 30 * time.Second

// Stop ends the broker in good order (SIGTERM): it hands its partitions over and closes its logs. A paused broker is
// resumed first; one that takes longer than 30 seconds is killed, and the error says so.
func (b *Broker) Stop() error {
	p := b.running()
	if p == nil {
		return nil
	}
	if err := p.signal(sigStop); err != nil {
		return fmt.Errorf("stop broker %d: %w", b.id, err)
	}
	p.signal(sigResume) // refused where there is no pausing either
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("broker %d did not stop in %v and was killed", b.id, stopTimeout), b.Kill())
	}
}

// Pause freezes the broker's process (SIGSTOP): its connections stay open and nothing answers.
func (b *Broker) Pause() error { return b.signal(sigPause) }

// Resume lets a paused broker go on (SIGCONT).
func (b *Broker) Resume() error { return b.signal(sigResume) }

func (b *Broker) signal(s os.Signal) error {
	p := b.running()
	if p == nil {
		return fmt.Errorf("broker %d is not running", b.id)
	}
	return p.signal(s)
}

// signal sends s; a process that has just ended is no error.
func (p *process) signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Exited returns a channel that is closed when the broker's process, as started latest, is gone.
func (b *Broker) Exited() <-chan struct{} { return b.latest().done }

// Start starts a broker that was killed or stopped, with its ports and its data, and waits until it answers.
func (b *Broker) Start(ctx context.Context) error {
	if err := b.launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.cluster.opts.StartTimeout)
	defer cancel()
	return b.awaitReady(ctx, 1)
}

// Restart is Start for tests; a broker that is still running is stopped first.
func (b *Broker) Restart(t testing.TB) {
	t.Helper()
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Log returns the last lines of the broker's log, all starts taken together.
func (b *Broker) Log() string {
	const most = 6000 // bytes: about 40 lines
	f, err := os.Open(b.logFile())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	size := min(info.Size(), most+1)
	buf := make([]byte, size)
	if n, err := f.ReadAt(buf, info.Size()-size); err != nil && n == 0 {
		return err.Error()
	}
	return string(tail(buf, most))
}
