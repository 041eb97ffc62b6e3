package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// results is what a call of the command found.
type results struct {
	Taken        string    `json:"taken"`
	Machine      string    `json:"machine"`
	Go           string    `json:"go"`
	Kafka        string    `json:"kafka"`
	Events       int       `json:"events"`
	Partitions   int       `json:"partitions"`
	CommitMillis int64     `json:"commit_ms"`
	Summary      []summary `json:"summary,omitempty"`
	Runs         []run     `json:"runs,omitempty"`
	Latencies    []latency `json:"latencies,omitempty"`
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
	Others   float64 `json:"others_cpu_share"`
	Lost     int     `json:"lost"`
	Repeated int     `json:"repeated"`
}

func (r *results) summarise() {
	ceiling := map[int]float64{}
	var variants []string
	for _, x := range r.Runs {
		if x.Variant == pass {
			ceiling[x.Round] = x.PerSec
		}
		if !slices.Contains(variants, x.Variant) {
			variants = append(variants, x.Variant)
		}
	}
	slices.SortFunc(variants, func(a, b string) int { // the pass-through first
		if (a == pass) != (b == pass) {
			return map[bool]int{true: -1, false: 1}[a == pass]
		}
		return strings.Compare(a, b)
	})
	for _, v := range variants {
		s := summary{Variant: v}
		columns := [8][]float64{}
		for i := range r.Runs {
			x := &r.Runs[i]
			if x.Variant != v {
				continue
			}
			if c := ceiling[x.Round]; c > 0 && v != pass {
				x.Ratio = x.PerSec / c
				columns[6] = append(columns[6], x.Ratio)
			}
			for j, f := range []float64{x.PerSec, x.Middle, x.CPU, x.Broker, x.Memory, x.StartUp} {
				columns[j] = append(columns[j], f)
			}
			columns[7] = append(columns[7], x.Others)
			s.Rounds++
			s.Lost += x.Lost
			s.Repeated += x.Repeated + x.Foreign
		}
		for j, to := range []*float64{&s.PerSec, &s.Middle, &s.CPU, &s.Broker, &s.Memory, &s.StartUp, &s.Ratio, &s.Others} {
			*to = median(columns[j])
		}
		if len(columns[6]) > 0 {
			s.RatioMin, s.RatioMax = slices.Min(columns[6]), slices.Max(columns[6])
		}
		r.Summary = append(r.Summary, s)
	}
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

func (r *results) print(out io.Writer) {
	fmt.Fprintf(out, "%s; %s; Kafka %s; %d events, %d partitions, commit every %d ms\n", r.Machine, r.Go, r.Kafka, r.Events, r.Partitions, r.CommitMillis)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(r.Summary) > 0 {
		fmt.Fprintln(w, "variant\tn\tevents/s\tmid\tcpu s/M\tbroker s/M\trss MiB\tstart s\tof pass\tmin..max\tothers\tlost\trepeated\t")
		for _, s := range r.Summary {
			ratio, spread := "", ""
			if s.Ratio > 0 {
				ratio, spread = fmt.Sprintf("%.2f", s.Ratio), fmt.Sprintf("%.2f..%.2f", s.RatioMin, s.RatioMax)
			}
			fmt.Fprintf(w, "%s\t%d\t%.0fk\t%.0fk\t%.2f\t%.2f\t%.0f\t%.2f\t%s\t%s\t%.0f %%\t%d\t%d\t\n", s.Variant, s.Rounds, s.PerSec/1e3, s.Middle/1e3,
				s.CPU, s.Broker, s.Memory, s.StartUp, ratio, spread, 100*s.Others, s.Lost, s.Repeated)
		}
	}
	w.Flush()
	for _, l := range r.Latencies {
		fmt.Fprintf(out, "latency at %d/s, %s: %s\n", l.Rate, l.Variant, l.String())
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
