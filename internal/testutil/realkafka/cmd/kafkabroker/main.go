// Command kafkabroker runs a real Apache Kafka on 127.0.0.1 until it is interrupted, and then throws its data away. It
// prints the address on standard output, one line, as soon as the brokers answer; everything else goes to standard error.
//
//	kafkabroker [-port 9092] [-brokers 1|3] [-heap 512] [-set key=value]…
//
// It ends with 0 after SIGINT or SIGTERM, with 1 if Kafka does not start or ends by itself, with 2 if the flags are wrong.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

func main() {
	opts := realkafka.Options{Properties: map[string]string{}}
	flag.IntVar(&opts.Port, "port", 0, "port of the first broker, the others follow; 0: free ones")
	flag.IntVar(&opts.Brokers, "brokers", 1, "number of brokers: 1 or 3")
	flag.IntVar(&opts.HeapMB, "heap", 512, "Java heap of each broker in MiB")
	flag.Func("set", "a broker property, `key=value`; may be repeated", func(s string) error {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("expected key=value")
		}
		opts.Properties[key] = value
		return nil
	})
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "kafkabroker: takes no arguments")
		os.Exit(2)
	}
	if err := run(opts); err != nil {
		fmt.Fprintln(os.Stderr, "kafkabroker:", err)
		os.Exit(1)
	}
}

func run(opts realkafka.Options) (err error) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	dir, err := os.MkdirTemp("", "kafkabroker-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := realkafka.Run(ctx, filepath.Join(dir, "kafka"), opts)
	if err != nil {
		if ctx.Err() != nil {
			return nil // interrupted while it started
		}
		return err
	}
	defer c.Close()
	fmt.Fprintf(os.Stderr, "Kafka %s is ready; interrupt to end it\n", realkafka.Version())
	fmt.Println(c.Addr())

	ended := make(chan int, c.Brokers())
	for i := range c.Brokers() {
		go func() {
			<-c.Broker(i).Exited()
			ended <- i
		}()
	}
	select {
	case <-ctx.Done():
		return nil // Close kills: nothing of the data is kept
	case i := <-ended:
		if ctx.Err() != nil {
			return nil // the terminal interrupted Kafka as well
		}
		return fmt.Errorf("broker %d has ended by itself\n%s", c.Broker(i).ID(), c.Broker(i).Log())
	}
}
