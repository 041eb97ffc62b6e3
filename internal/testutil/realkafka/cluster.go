package realkafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Cluster is a running Kafka cluster. Its methods may be called at the same time.
type Cluster struct {
	opts    Options
	dir     string
	java    string
	jars    string
	id      string // Kafka's cluster id
	brokers []*Broker
}

// Run starts a cluster that keeps its data in dir, which must be empty or absent, and returns once every broker
// answers and knows all others. ctx bounds the start only; the cluster runs until Close or, on Linux, until this process
// ends. An error that wraps [ErrUnavailable] means that the machine lacks java or mvn.
func Run(ctx context.Context, dir string, opts Options) (*Cluster, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	javaPath, err := java()
	if err != nil {
		return nil, err
	}
	jars, err := Jars(ctx)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if entries, err := os.ReadDir(dir); err != nil {
		return nil, err
	} else if len(entries) > 0 {
		return nil, fmt.Errorf("realkafka: %s is not empty", dir)
	}

	ctx, cancel := context.WithTimeout(ctx, opts.StartTimeout)
	defer cancel()
	// Between choosing a free port and Kafka's taking it somebody else may: then everything is done anew elsewhere.
	for attempt := 1; ; attempt++ {
		c := &Cluster{opts: opts, dir: filepath.Join(dir, strconv.Itoa(attempt)), java: javaPath, jars: jars, id: newUUID()}
		err := c.start(ctx)
		if err == nil {
			return c, nil
		}
		c.Close()
		if attempt == 3 || opts.Port != 0 || !errors.Is(err, errPortTaken) {
			return nil, err
		}
	}
}

// start formats the storage of every broker and starts them all.
func (c *Cluster) start(ctx context.Context) error {
	n := c.opts.Brokers
	free, err := freePorts(3 * n)
	if err != nil {
		return err
	}
	var controllers, voters []string
	for i := range n {
		port, controller, peers := free[3*i], free[3*i+1], free[3*i+2]
		if c.opts.Port != 0 {
			port = c.opts.Port + i
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(controller))
		controllers = append(controllers, address)
		voters = append(voters, fmt.Sprintf("%d@%s:%s", i+1, address, newUUID()))
		c.brokers = append(c.brokers, &Broker{
			cluster: c, id: i + 1, port: port, controllerPort: controller, peerPort: port,
			dir: filepath.Join(c.dir, fmt.Sprintf("broker-%d", i+1)),
		})
		if c.opts.Advertise != nil || c.opts.AdvertisePeers != nil {
			c.brokers[i].peerPort = peers
		}
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"broker-log4j2.xml": log4j("info", "SYSTEM_OUT"),
		"tool-log4j2.xml":   log4j("error", "SYSTEM_ERR"),
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}

	if err := c.each(func(b *Broker) error {
		if err := os.MkdirAll(b.dir, 0o755); err != nil {
			return err
		}
		extra := c.opts.Properties
		if b.peerPort != b.port {
			var err error
			if extra, err = advertised(c.opts, b.id-1, b.port, b.peerPort, b.controllerPort); err != nil {
				return err
			}
		}
		text := properties(b.id, b.port, b.controllerPort, strings.Join(controllers, ","),
			filepath.Join(b.dir, "data"), n, extra)
		if err := os.WriteFile(b.config(), []byte(text), 0o644); err != nil {
			return err
		}
		out, err := c.Command(ctx, "kafka.tools.StorageTool", "format", "--config", b.config(),
			"--cluster-id", c.id, "--initial-controllers", strings.Join(voters, ",")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("format the storage of broker %d: %w\n%s", b.id, err, tail(out, 4000))
		}
		return nil
	}); err != nil {
		return err
	}
	if err := c.each((*Broker).launch); err != nil {
		return err
	}
	return c.each(func(b *Broker) error { return b.awaitReady(ctx, n) })
}

// each calls f for all brokers at once and returns what went wrong.
func (c *Cluster) each(f func(*Broker) error) error {
	errs := make([]error, len(c.brokers))
	var wg sync.WaitGroup
	for i, b := range c.brokers {
		wg.Go(func() { errs[i] = f(b) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Addrs returns the brokers' addresses, host:port.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.brokers))
	for i, b := range c.brokers {
		addrs[i] = b.Addr()
	}
	return addrs
}

// Addr returns the brokers' addresses as Kafka's tools take them: joined by commas.
func (c *Cluster) Addr() string { return strings.Join(c.Addrs(), ",") }

// Brokers returns the number of brokers.
func (c *Cluster) Brokers() int { return len(c.brokers) }

// Broker returns broker i, from 0. Its node id in Kafka is i+1.
func (c *Cluster) Broker(i int) *Broker { return c.brokers[i] }

// Command returns a Java program of Kafka's jars, ready to be run: "org.apache.kafka.tools.consumer.ConsoleConsumer",
// "org.apache.kafka.tools.TransactionsCommand" and so on. It prints results on standard output and errors on standard
// error; it is killed when ctx ends.
func (c *Cluster) Command(ctx context.Context, mainClass string, args ...string) *exec.Cmd {
	// The first compiler alone and a serial collector: such programs are over in a second.
	cmd := exec.CommandContext(ctx, c.java, append([]string{
		"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Djava.net.preferIPv4Stack=true",
		"-Dlog4j2.configurationFile=" + filepath.Join(c.dir, "tool-log4j2.xml"),
		"-cp", filepath.Join(c.jars, "*"), mainClass,
	}, args...)...)
	cmd.SysProcAttr = dieWithParent()
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// CPU returns the processor seconds that the brokers have used since they were started, killed ones and earlier starts
// included. A running broker counts on Linux only.
func (c *Cluster) CPU() float64 {
	var total time.Duration
	for _, b := range c.brokers {
		total += b.cpu()
	}
	return total.Seconds()
}

// Resident returns the bytes of memory that the running brokers hold now. 0 outside Linux.
func (c *Cluster) Resident() int64 {
	var total int64
	for _, b := range c.brokers {
		if p := b.running(); p != nil {
			if n, err := residentBytes(p.cmd.Process.Pid); err == nil {
				total += n
			}
		}
	}
	return total
}

// Log returns the last lines of every broker's log.
func (c *Cluster) Log() string {
	var out strings.Builder
	for _, b := range c.brokers {
		fmt.Fprintf(&out, "--- broker %d (%s), last lines of its log:\n%s\n", b.id, b.Addr(), b.Log())
	}
	return out.String()
}

// Stop ends all brokers in good order and waits for them; one that takes longer than 30 seconds is killed. The data stay.
func (c *Cluster) Stop() error { return c.each((*Broker).Stop) }

// Close kills all brokers and waits until they are gone. The data stay in the folder, for the caller to remove. It may be
// called more than once.
func (c *Cluster) Close() error { return c.each((*Broker).Kill) }
