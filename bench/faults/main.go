//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	only := flag.String("only", "", "rows to run, by fault or name, comma-separated: F1,F7 or F9.three")
	seed := flag.Uint64("seed", 1, "of the moments at which faults strike")
	jsonFile := flag.String("json", "", "write the results there")
	binary := flag.String("binary", "", "gradstream to test; default: build it")
	keep := flag.Bool("keep", false, "keep the folder with logs and states")
	flag.Parse()
	s := &suite{seed: *seed, binary: *binary, out: os.Stderr}
	if err := s.open(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
	results, err := s.run(ctx, *only)
	if *keep {
		s.keep = true
		fmt.Fprintln(os.Stderr, "kept:", s.dir)
	}
	err = errors.Join(err, s.close())
	fmt.Print(table(results))
	if *jsonFile != "" {
		text, e := json.MarshalIndent(results, "", "  ")
		err = errors.Join(err, e, os.WriteFile(*jsonFile, append(text, '\n'), 0o644))
	}
	count := map[string]int{}
	for _, r := range results {
		count[r.Status]++
	}
	fmt.Printf("%d rows: %d passed, %d failed, %d not seen, %d not injected, which say why\n", len(results), count[passed], count[failed], count[notSeen], count[notInjected])
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	if err != nil || count[failed]+count[notSeen] > 0 {
		os.Exit(1)
	}
}

// suite runs rows.
type suite struct {
	seed   uint64
	binary string
	dir    string
	keep   bool
	out    io.Writer
	one    *site // the cluster of one broker, shared by rows
	three  *site // of three
	lastID int
}

func (s *suite) open(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "gradstream-faults-"); err != nil {
		return err
	}
	if s.binary != "" {
		s.binary, err = filepath.Abs(s.binary)
		return err
	}
	s.binary = filepath.Join(s.dir, "gradstream")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", s.binary, "github.com/gradstream/gradstream/cmd/gradstream").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func (s *suite) close() error {
	err := errors.Join(s.one.close(), s.three.close())
	if !s.keep {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// cluster returns the shared cluster of n brokers, started when it is first wanted.
func (s *suite) cluster(ctx context.Context, n int) (_ *site, err error) {
	at := &s.one
	if n == 3 {
		at = &s.three
	}
	if *at == nil {
		*at, err = newSite(ctx, filepath.Join(s.dir, fmt.Sprint("kafka", n)), n)
	}
	return *at, err
}

// What became of a row.
const (
	passed      = "ok"
	failed      = "FAILED"
	notSeen     = "NOT SEEN"
	notInjected = "-"
)

// result is a row of the table.
type result struct {
	Fault      string         `json:"fault"`
	Name       string         `json:"name"`
	Text       string         `json:"text"`
	Status     string         `json:"status"`
	Injections map[string]int `json:"injections,omitempty"`
	Events     int64          `json:"events"`
	Lost       int64          `json:"lost"`
	Duplicated int64          `json:"duplicated"`
	Violations int            `json:"violations"`
	Compared   int            `json:"digests_compared"`
	Wrong      int            `json:"wrong_digests"`
	HoleMS     int64          `json:"hole_ms"`
	Seconds    float64        `json:"seconds"`
	Note       string         `json:"note,omitempty"`
	Error      string         `json:"error,omitempty"`
}

// rowTime bounds a row. Three brokers on a small machine take long to start.
const rowTime = 300 * time.Second

// run runs the rows that only names, all if it is empty.
func (s *suite) run(ctx context.Context, only string) (results []result, err error) {
	var want []string
	if only != "" {
		want = strings.Split(only, ",")
	}
	for _, r := range rows {
		named := slices.Contains(want, r.fault+"."+r.name)
		if want != nil && !slices.Contains(want, r.fault) && !named {
			continue
		}
		if r.asked && !named {
			r.run = nil
		}
		if ctx.Err() != nil {
			return results, ctx.Err()
		}
		res := s.row(ctx, r)
		results = append(results, res)
		fmt.Fprintf(s.out, "%-4s %-12s %-9s %5.1f s  %s %s\n", res.Fault, res.Name, res.Status, res.Seconds, res.seen(), res.Note)
		if res.Error != "" {
			fmt.Fprintln(s.out, "    "+strings.ReplaceAll(res.Error, "\n", "\n    "))
		}
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("no row is named %q", only)
	}
	return results, nil
}

// row runs one.
func (s *suite) row(ctx context.Context, r row) result {
	res := result{Fault: r.fault, Name: r.name, Text: r.text, Status: notInjected, Note: r.why}
	if r.run == nil {
		return res
	}
	res.Note = ""
	begun := time.Now()
	most := r.time
	if most == 0 {
		most = rowTime
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	l, err := newLab(ctx, s, r)
	if err == nil {
		err = r.run(l)
		err = errors.Join(err, l.finish(err == nil))
		l.close()
		l.fill(&res)
	}
	res.Seconds = time.Since(begun).Seconds()
	var cannot cannotError
	switch {
	case errors.As(err, &cannot):
		res.Note = cannot.Error()
		return res
	case err != nil:
		res.Status, res.Error = failed, err.Error()
	case res.Lost+res.Duplicated > 0 || res.Violations+res.Wrong > 0:
		res.Status = failed
	default:
		res.Status = passed
		for _, n := range res.Injections {
			if n == 0 {
				res.Status = notSeen
			}
		}
		if len(res.Injections) == 0 {
			res.Status = notSeen
		}
	}
	return res
}

// cannotError says why a fault cannot be injected on this machine.
type cannotError string

func (e cannotError) Error() string { return string(e) }

func (r *result) seen() string {
	var all []string
	for k, n := range r.Injections {
		all = append(all, fmt.Sprintf("%s %d", k, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// table prints results for people.
func table(results []result) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "FAULT\tWHAT\tRESULT\tEVENTS\tLOST\tDUP\tVIOL\tWRONG\tHOLE\tTOOK\tSEEN")
	for _, r := range results {
		if r.Status == notInjected {
			fmt.Fprintf(w, "%s\t%s\t%s\t\t\t\t\t\t\t\t%s\n", r.Fault, r.Text, r.Status, r.Note)
			continue
		}
		wrong := "-"
		if r.Compared > 0 {
			wrong = fmt.Sprintf("%d of %d", r.Wrong, r.Compared)
		}
		hole := "-"
		if r.HoleMS > 0 {
			hole = fmt.Sprintf("%.2f s", float64(r.HoleMS)/1000)
		}
		seen := r.seen()
		if r.Note != "" {
			seen += "; " + r.Note
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%.0f s\t%s\n", r.Fault, r.Text, r.Status, r.Events, r.Lost, r.Duplicated, r.Violations, wrong, hole, r.Seconds, seen)
	}
	_ = w.Flush()
	return b.String()
}
