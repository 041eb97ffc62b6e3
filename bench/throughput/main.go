// Command throughput measures gradstream on a real Apache Kafka, from outside,
// beside the fastest that a transactional client can copy records on the same
// machine at the same time.
//
//	go run ./bench/throughput [-events 2000000] [-rounds 3] [-peers all] [-latency] [-recovery] [-quick] [-profile DIR] [-json FILE]
//	go run ./bench/throughput -partitions 64 -variants tasks=64,tasks=4 -rebuild -latency
//
// It starts one broker, fills a topic with click events once, and then lets the
// pass-through and the pipeline of clicks.yaml take turns over them: fresh output
// topics and groups in each round, the order turning from round to round. A run
// lasts from the process's first record (start-up is a column) to the moment when
// the last stable offsets of the output topic have reached their end; the harness
// looks every 25 ms. Then it reads the output read_committed and counts every id.
// With -peers it does the same with the programs of bench/peers, whose tools have to be here: who is left out is said.
// A variant "other" is none with another build of gradstream, -other: what a change is worth shows only in turns.
// A variant tasks=N sets the number of tasks, and -rebuild rebuilds every task of a
// run from its journal and compares the digest with the run's last checkpoint.
// Processor time and memory come from /proc. The machine matters, and whatever
// else runs on it: compare the ratios of one call, not the figures of two.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gradstream/gradstream/bench/peers"
	"github.com/gradstream/gradstream/internal/testutil/realkafka"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == passCommand {
		if err := passThrough(ctx, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "pass-through:", err)
			os.Exit(1)
		}
		return
	}
	o, err := options(os.Args[1:])
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		os.Exit(2)
	}
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "throughput:", err)
		os.Exit(1)
	}
}

type opts struct {
	events, rounds int
	partitions     int
	rebuild        bool
	variants       []string
	peers          []peers.Peer
	repeat         bool // the slow ones in every round
	commit         time.Duration
	latency        bool
	recovery       bool
	rate           int
	seconds        int
	profile        string
	json           string
	warm           bool
	binary         string
	other          string
}

func options(args []string) (o opts, err error) {
	f := flag.NewFlagSet("throughput", flag.ContinueOnError)
	f.IntVar(&o.events, "events", 2_000_000, "events in the backlog")
	f.IntVar(&o.rounds, "rounds", 3, "rounds over the backlog; 0: none")
	f.IntVar(&o.partitions, "partitions", 4, "partitions of every topic")
	f.BoolVar(&o.rebuild, "rebuild", false, "behind each run of gradstream rebuild every task from the journal and compare")
	f.DurationVar(&o.commit, "commit", 100*time.Millisecond, "commit interval of every variant")
	f.BoolVar(&o.latency, "latency", false, "measure latency too, in an open loop")
	f.IntVar(&o.rate, "rate", 5000, "events a second of the open loop")
	f.IntVar(&o.seconds, "seconds", 20, "length of the open loop, after a warm-up")
	f.StringVar(&o.profile, "profile", "", "take a processor profile of gradstream over the backlog into this `folder`")
	f.StringVar(&o.json, "json", "", "write the results to this `file`")
	f.BoolVar(&o.warm, "warm", true, "begin with runs of the pass-through and of gradstream that do not count, so that the broker is warm")
	f.StringVar(&o.binary, "binary", "", "gradstream to measure; default: build it")
	f.StringVar(&o.other, "other", "", "gradstream that the variant other runs")
	variants := f.String("variants", "pass,none,standard", "what takes turns: pass, the pass-through; plain, the same without care; and gradstream with numbers scaled none or standard, or with a number of tasks: tasks=N; other: see -other")
	others := f.String("peers", "", "what gradstream is compared with: all, or some of gohand,kstreams,flink,vw,river; the last four run in the first round alone")
	f.BoolVar(&o.repeat, "repeat-peers", false, "let all peers run in every round")
	f.BoolVar(&o.recovery, "recovery", false, "measure what kill -9 costs, too")
	quick := f.Bool("quick", false, "a look in a few minutes: fewer events, one round, a short open loop, no recovery")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if *quick {
		o.events, o.rounds, o.seconds, o.recovery = min(o.events, 500_000), min(o.rounds, 1), min(o.seconds, 6), false
	}
	if o.peers, err = parsePeers(*others); err != nil {
		fmt.Fprintln(os.Stderr, "throughput:", err)
		return o, err
	}
	o.variants = strings.Split(*variants, ",")
	for _, v := range o.variants {
		n, isTasks := strings.CutPrefix(v, tasksVariant)
		switch t, e := strconv.Atoi(n); {
		case isTasks && (e != nil || t < 1 || t > o.partitions):
			err = fmt.Errorf("variant %q: expected 1 to %d tasks", v, o.partitions)
		case v == otherBuild && o.other == "":
			err = errors.New("variant other: -other is missing")
		case !isTasks && !isPass(v) && v != otherBuild && v != "none" && v != "standard" && v != "minmax" && v != "maxabs":
			err = fmt.Errorf("no variant %q", v)
		}
	}
	if err == nil && (f.NArg() > 0 || o.events < 1 || o.partitions < 1 || o.partitions > 1000 || o.events > 100_000_000 || o.rounds < 0 || o.rate < 1 || o.seconds < 4) {
		err = errors.New("a flag is out of range, or there are arguments")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "throughput:", err)
	}
	return o, err
}

// warmUps is how often the pass-through and gradstream run before anything counts,
// with a commit every warmCommit: after one run of each with few transactions, 44 % of
// the broker's processor time was still the Java compiler's, after ten a quarter, after
// twenty-four 4 to 25 %.
const (
	warmUps    = 6
	warmCommit = 10 * time.Millisecond
)

// harness is what all measurements share.
type harness struct {
	opts
	dir      string
	kafka    *realkafka.Cluster
	cl       *kgo.Client
	adm      *kadm.Client
	commands map[string]func(peers.Task) []string // of the peers that could be built
	labels   []bool                               // of the events of the backlog
	serial   int                                  // of runs, to name topics and groups apart
}

const source = "clicks"

// compilerProfile is what make build gives the compiler.
//
//go:embed gradstream.pgo
var compilerProfile []byte

func bench(ctx context.Context, o opts) (err error) {
	dir, err := os.MkdirTemp("", "gradstream-throughput-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	h := &harness{opts: o, dir: dir}
	if h.binary == "" {
		h.binary = filepath.Join(dir, "gradstream")
		say("building gradstream")
		profile := filepath.Join(dir, "gradstream.pgo")
		if err := os.WriteFile(profile, compilerProfile, 0o644); err != nil {
			return err
		}
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-pgo="+profile, "-o", h.binary, "github.com/gradstream/gradstream/cmd/gradstream")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building gradstream: %w\n%s", err, out)
		}
	}
	if err := os.WriteFile(h.pipelineFile(), pipelineYAML, 0o644); err != nil {
		return err
	}
	left, err := h.buildPeers(ctx)
	if err != nil {
		return err
	}
	say("starting Kafka %s", realkafka.Version())
	h.kafka, err = realkafka.Run(ctx, filepath.Join(dir, "kafka"), realkafka.Options{HeapMB: 1024})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.kafka.Close()) }()
	if h.cl, err = h.client(); err != nil {
		return err
	}
	defer h.cl.Close()
	h.adm = kadm.NewClient(h.cl)

	res := &results{
		Machine: machine(), Go: runtime.Version(), Kafka: realkafka.Version(), Taken: time.Now().UTC().Format(time.RFC3339),
		Events: o.events, CommitMillis: o.commit.Milliseconds(), Partitions: o.partitions, LeftOut: left,
		PeerCommitMillis: peerCommit.Milliseconds(),
	}
	if o.rounds > 0 || o.profile != "" {
		if err := h.fill(ctx); err != nil {
			return err
		}
	}
	if o.warm && o.rounds > 0 {
		for i := range 2 * warmUps {
			v := [...]string{pass, "standard"}[i%2]
			say("warming the broker up: %s", v)
			h.commit = warmCommit
			if _, err := h.backlog(ctx, v, 0, false); err != nil {
				return fmt.Errorf("warming up, %s: %w", v, err)
			}
		}
		h.commit = o.commit
	}
	for round := range o.rounds {
		for _, v := range order(o.variants, h.peers, round+1, o.repeat) {
			r, err := h.backlog(ctx, v, round+1, false)
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, v, err)
			}
			say("round %d %-9s %s", r.Round, r.Variant, r)
			res.Runs = append(res.Runs, *r)
		}
	}
	all := order(o.variants, h.peers, 1, o.repeat)
	if o.latency {
		for _, v := range all {
			l, err := h.openLoop(ctx, v)
			if err != nil {
				return fmt.Errorf("latency, %s: %w", v, err)
			}
			say("latency %-9s %s", v, l)
			res.Latencies = append(res.Latencies, *l)
		}
	}
	if o.recovery {
		for _, v := range all {
			r, err := h.recover(ctx, v)
			if err != nil {
				return fmt.Errorf("recovery, %s: %w", v, err)
			}
			say("recovery %-9s %s", v, r)
			res.Recoveries = append(res.Recoveries, *r)
		}
	}
	if o.profile != "" {
		if err := h.takeProfile(ctx); err != nil {
			return err
		}
	}
	res.summarise()
	res.print(os.Stdout)
	if o.json != "" {
		b, err := json.MarshalIndent(res, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	return res.wrong()
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
