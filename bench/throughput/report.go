package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/gradstream/gradstream/bench/peers"
)

// results is what a call of the command found.
type results struct {
	Taken            string     `json:"taken"`
	Machine          string     `json:"machine"`
	Go               string     `json:"go"`
	Kafka            string     `json:"kafka"`
	Events           int        `json:"events"`
	Partitions       int        `json:"partitions"`
	CommitMillis     int64      `json:"commit_ms"`
	PeerCommitMillis int64      `json:"peer_commit_ms"`
	LeftOut          []leftOut  `json:"left_out,omitempty"`
	Summary          []summary  `json:"summary,omitempty"`
	Runs             []run      `json:"runs,omitempty"`
	Latencies        []latency  `json:"latencies,omitempty"`
	Recoveries       []recovery `json:"recoveries,omitempty"`
}

// summary is a variant over all rounds: medians, and the spread of the ratios.
type summary struct {
	Variant  string  `json:"variant"`
	Rounds   int     `json:"rounds"`
	PerSec   float64 `json:"events_per_second"`
	Middle   float64 `json:"events_per_second_middle"`
	CPU      float64 `json:"cpu_seconds_per_million"`
	Broker   float64 `json:"broker_cpu_seconds_per_million"`
	Memory   float64 `json:"peak_rss_mib"`
	StartUp  float64 `json:"start_up_seconds"`
	Ratio    float64 `json:"ratio,omitempty"`
	RatioMin float64 `json:"ratio_min,omitempty"`
	RatioMax float64 `json:"ratio_max,omitempty"`
	CPUTimes *spread `json:"cpu_times_of_pass,omitempty"` // the pass-through's processor time an event
	// Ours is how many times as many events a second, OursCPU how many times fewer processor seconds a million, the
	// first of gradstream's variants takes than a peer.
	Ours     *spread `json:"gradstream_events_per_second_times,omitempty"`
	OursCPU  *spread `json:"gradstream_cpu_less_times,omitempty"`
	LogLoss  float64 `json:"log_loss,omitempty"`
	Others   float64 `json:"others_cpu_share"`
	Lost     int     `json:"lost"`
	Repeated int     `json:"repeated"`
}

func (r *results) summarise() {
	ceiling := map[int]run{}
	var variants []string
	for _, x := range r.Runs {
		if x.Variant == pass {
			ceiling[x.Round] = x
		}
		if !slices.Contains(variants, x.Variant) {
			variants = append(variants, x.Variant)
		}
	}
	rank := func(v string) int { // the pass-through first, then gradstream
		switch {
		case v == pass:
			return 0
		case !isPeer(v):
			return 1
		}
		return 2 + slices.IndexFunc(peers.All, func(p peers.Peer) bool { return p.Name == v })
	}
	slices.SortFunc(variants, func(a, b string) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a, b)) })
	for _, v := range variants {
		s := summary{Variant: v}
		columns := [8][]float64{}
		var times []float64
		for i := range r.Runs {
			x := &r.Runs[i]
			if x.Variant != v {
				continue
			}
			if c := ceiling[x.Round]; c.PerSec > 0 && v != pass {
				x.Ratio = x.PerSec / c.PerSec
				columns[6] = append(columns[6], x.Ratio)
				if c.CPU > 0 {
					times = append(times, x.CPU/c.CPU)
				}
			}
			for j, f := range []float64{x.PerSec, x.Middle, x.CPU, x.Broker, x.Memory, x.StartUp} {
				columns[j] = append(columns[j], f)
			}
			columns[7] = append(columns[7], x.Others)
			if x.LogLoss != nil {
				s.LogLoss = *x.LogLoss
			}
			s.Rounds++
			s.Lost += x.Lost
			s.Repeated += x.Repeated + x.Foreign
		}
		for j, to := range []*float64{&s.PerSec, &s.Middle, &s.CPU, &s.Broker, &s.Memory, &s.StartUp, &s.Ratio, &s.Others} {
			*to = median(columns[j])
		}
		if len(columns[6]) > 0 {
			s.RatioMin, s.RatioMax = slices.Min(columns[6]), slices.Max(columns[6])
			s.CPUTimes = spreadOf(times)
		}
		if isPeer(v) {
			s.Ours = r.times(v, func(ours, peer run) float64 { return ours.PerSec / peer.PerSec })
			s.OursCPU = r.times(v, func(ours, peer run) float64 { return peer.CPU / ours.CPU })
		}
		r.Summary = append(r.Summary, s)
	}
}

// spread is a ratio over rounds.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func (s *spread) String() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%.3g (%.3g..%.3g)", s.Median, s.Min, s.Max)
}

// times compares gradstream with a peer: within each round in which both ran, or, of a peer that ran once, in every round of
// gradstream's.
func (r *results) times(peer string, ratio func(ours, peer run) float64) *spread {
	var ours string
	var of []run
	for _, x := range r.Runs {
		if ours == "" && !isPass(x.Variant) && !isPeer(x.Variant) {
			ours = x.Variant
		}
		if x.Variant == peer {
			of = append(of, x)
		}
	}
	var all []float64
	for _, x := range r.Runs {
		if x.Variant != ours {
			continue
		}
		for _, y := range of {
			if len(of) == 1 || x.Round == y.Round {
				all = append(all, ratio(x, y))
			}
		}
	}
	return spreadOf(all)
}

func spreadOf(all []float64) *spread {
	if len(all) == 0 {
		return nil
	}
	return &spread{median(all), slices.Min(all), slices.Max(all)}
}

// lossWithin is how far a log loss may be from gradstream's: all learn the same from the same, but for rounding, their hash and,
// of Vowpal Wabbit, its rule.
const lossWithin = 0.03

// wrong lists what makes figures worthless: outputs lost, or repeated by who promises not to, or a model that has not learnt.
func (r *results) wrong() error {
	var errs []error
	check := func(what, variant string, c counted) {
		p, ok := peers.Find(variant)
		if c.Lost > 0 || c.Foreign > 0 || c.Repeated > 0 && (!ok || p.Once) {
			errs = append(errs, fmt.Errorf("%s, %s: %d outputs lost, %d repeated, %d of no event", what, variant, c.Lost, c.Repeated, c.Foreign))
		}
	}
	var ours *float64
	for _, x := range r.Runs {
		if ours == nil && x.LogLoss != nil && !isPeer(x.Variant) {
			ours = x.LogLoss
		}
	}
	for _, x := range r.Runs {
		check(fmt.Sprint("round ", x.Round), x.Variant, x.counted)
		if ours != nil && x.LogLoss != nil && math.Abs(*x.LogLoss-*ours) > lossWithin {
			errs = append(errs, fmt.Errorf("round %d, %s: log loss %.4f, expected about %.4f", x.Round, x.Variant, *x.LogLoss, *ours))
		}
	}
	for _, x := range r.Latencies {
		check("latency", x.Variant, x.counted)
	}
	for _, x := range r.Recoveries {
		check("recovery", x.Variant, x.counted)
	}
	return errors.Join(errs...)
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

func (r *results) print(out io.Writer) {
	fmt.Fprintf(out, "%s; %s; Kafka %s; %d events, %d partitions, commit every %d ms, peers over the backlog every %d ms\n", r.Machine, r.Go, r.Kafka, r.Events, r.Partitions, r.CommitMillis, r.PeerCommitMillis)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(r.Summary) > 0 {
		fmt.Fprintln(w, "variant\tn\tevents/s\tmid\tcpu s/M\tbroker s/M\trss MiB\tstart s\tof pass\tmin..max\tcpu, times pass\tours, times\tless cpu, times\tlog loss\tothers\tlost\trepeated\t")
		for _, s := range r.Summary {
			ratio, bounds := "", ""
			if s.Ratio > 0 {
				ratio, bounds = fmt.Sprintf("%.2f", s.Ratio), fmt.Sprintf("%.2f..%.2f", s.RatioMin, s.RatioMax)
			}
			loss := ""
			if s.LogLoss > 0 {
				loss = fmt.Sprintf("%.4f", s.LogLoss)
			}
			fmt.Fprintf(w, "%s\t%d\t%.0fk\t%.0fk\t%.2f\t%.2f\t%.0f\t%.2f\t%s\t%s\t%v\t%v\t%v\t%s\t%.0f %%\t%d\t%d\t\n", s.Variant, s.Rounds, s.PerSec/1e3, s.Middle/1e3,
				s.CPU, s.Broker, s.Memory, s.StartUp, ratio, bounds, s.CPUTimes, s.Ours, s.OursCPU, loss, 100*s.Others, s.Lost, s.Repeated)
		}
	}
	w.Flush()
	for _, x := range r.Runs {
		if strings.HasPrefix(x.Variant, tasksVariant) {
			fmt.Fprintf(out, "%s, round %d: %.0fk events/s, the broker takes %.2f cores; %v\n", x.Variant, x.Round, x.PerSec/1e3, x.Broker*x.PerSec/1e6, x.journaled)
		}
	}
	for _, l := range r.Latencies {
		fmt.Fprintf(out, "latency at %d/s, %s: %s\n", l.Rate, l.Variant, l.String())
	}
	for _, x := range r.Recoveries {
		fmt.Fprintf(out, "kill -9 at %d/s, %s: %s\n", x.Rate, x.Variant, x.String())
	}
	for _, l := range r.LeftOut {
		fmt.Fprintf(out, "left out: %s: %s\n", l.Peer, l.Why)
	}
}

func cores() float64 { return float64(runtime.NumCPU()) }

// machine describes where the figures are from.
func machine() string {
	model := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(info), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			model = strings.Trim(line, "\t :")
		}
	}
	s := fmt.Sprintf("%d cores of %s", runtime.NumCPU(), model)
	if kib := procField("/proc/meminfo", "MemTotal:"); kib > 0 {
		s += fmt.Sprintf(", %.0f GiB", math.Round(kib/(1<<20)))
	}
	return s
}
