package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// summaryNumber returns the number that a pattern finds in the summary.
func summaryNumber(t *testing.T, out, pattern string) float64 {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no %s in:\n%s", pattern, out)
	}
	v, err := strconv.ParseFloat(strings.ReplaceAll(m[1], ",", ""), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDemo runs the demo as a script would, reads its predictions as another
// client while it runs, and then goes on in the same folder.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	var out lockedBuffer
	code := make(chan int, 1)
	go func() {
		code <- execute(t.Context(), []string{"demo", "--for", "3s", "--rate", "5000", "--state-dir", dir, "--listen", "127.0.0.1:0"}, &out, t.Output())
	}()
	addr := waitFor(t, &out, `broker   (\S+) \(embedded broker: a single-process development broker`)
	waitFor(t, &out, `read on  (kcat -b `+regexp.QuoteMeta(addr)+` -t flights\.predictions -C -X isolation\.level=read_committed)`)
	page := waitFor(t, &out, `page     (http://\S+)`)
	if body := fetch(t, page+"/"); !strings.Contains(body, "<title>gradstream</title>") {
		t.Errorf("the page: %s", body)
	}
	waitFor(t, &out, `(?m)^00:0\d  ([\d,]+) events  [\d,]+/s  lag [\d,]+  .*drifts \d`)
	outside := readIDs(t, addr, 1000)
	if c := <-code; c != exitOK {
		t.Fatalf("exit %d:\n%s", c, out.String())
	}
	for id, n := range outside {
		if n != 1 {
			t.Errorf("an outside client read id %d %d times", id, n)
		}
	}
	text := out.String()
	sent := summaryNumber(t, text, `events +([\d,]+) sent of 327,346, 0 rejected`)
	if read := summaryNumber(t, text, `predictions +([\d,]+) read back from flights\.predictions, read_committed`); read != sent || sent < 5000 || sent > 15_100 {
		t.Errorf("%v sent, %v read back, expected some 15,000", sent, read)
	}
	if !strings.Contains(text, " 0 duplicates, 0 missing\n") {
		t.Errorf("duplicates or missing:\n%s", text)
	}
	if model, baseline := summaryNumber(t, text, `accuracy +(0\.\d+);`), summaryNumber(t, text, `accuracy +\S+ no change (0\.\d+)`); model <= baseline {
		t.Errorf("accuracy %v does not beat no change, %v", model, baseline)
	}
	if model, baseline := summaryNumber(t, text, `log loss +(0\.\d+);`), summaryNumber(t, text, `log loss +\S+ no change (0\.\d+)`); model >= baseline {
		t.Errorf("log loss %v does not beat no change, %v", model, baseline)
	}

	// Once more in the folder: it goes on behind what is there.
	var more lockedBuffer
	if c := execute(t.Context(), []string{"demo", "--for", "3s", "--rate", "5000", "--state-dir", dir, "--listen", ""}, &more, t.Output()); c != exitOK {
		t.Fatalf("exit %d:\n%s", c, more.String())
	}
	text = more.String()
	if before := summaryNumber(t, text, `goes on  behind the ([\d,]+) events`); before != sent {
		t.Errorf("goes on behind %v events, %v were sent", before, sent)
	}
	if total := summaryNumber(t, text, `predictions +([\d,]+) read back`); total <= sent || total != summaryNumber(t, text, `events +([\d,]+) sent`) {
		t.Errorf("%v predictions in all after %v", total, sent)
	}
	if !strings.Contains(text, " 0 duplicates, 0 missing\n") || strings.Contains(text, "page") {
		t.Errorf("the second run:\n%s", text)
	}
}

func waitFor(t *testing.T, out *lockedBuffer, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if m := re.FindStringSubmatch(out.String()); m != nil {
			return m[1]
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s in:\n%s", pattern, out.String())
		}
	}
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readIDs reads predictions from the start of the topic until it has seen n.
func readIDs(t *testing.T, addr string, n int) map[int64]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := kafka.Open(ctx, kafka.Options{Brokers: []string{addr}, Pipeline: "outside"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var from []connectors.Position
	for p := range int32(4) {
		from = append(from, connectors.Position{TopicPartition: connectors.TopicPartition{Topic: "flights.predictions", Partition: p}, Next: connectors.Earliest})
	}
	feed, err := c.Feed(ctx, from)
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	ids := map[int64]int{}
	for seen := 0; seen < n; {
		f, err := feed.Poll(ctx, 1000, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range f.Records {
			var v struct {
				ID      int64
				P       float64
				Version int64
			}
			if err := json.Unmarshal(r.Value, &v); err != nil {
				t.Fatal(err)
			}
			if v.P <= 0 || v.P >= 1 || len(r.Headers) != 1 || r.Headers[0].Key != "gs-id" {
				t.Fatalf("%s %v", r.Value, r.Headers)
			}
			ids[v.ID]++
			seen++
		}
	}
	return ids
}

// TestDemoFindsTheChange plays the generated stream as fast as it goes.
func TestDemoFindsTheChange(t *testing.T) {
	var out lockedBuffer
	if c := execute(t.Context(), []string{"demo", "--stream", "drift", "--rate", "0", "--seed", "7", "--listen", ""}, &out, t.Output()); c != exitOK {
		t.Fatalf("exit %d:\n%s", c, out.String())
	}
	text := out.String()
	if read := summaryNumber(t, text, `predictions +([\d,]+) read back`); read != generatedMost {
		t.Errorf("%v predictions", read)
	}
	found := regexp.MustCompile(`(\d{4}-\d\d-\d\d \d\d:\d\d) \(task (\d)\)`).FindAllStringSubmatch(text, -1)
	change := time.UnixMilli(generatedStart + generatedMost/2*1000).UTC()
	tasks := map[string]bool{}
	for _, f := range found {
		at, err := time.Parse("2006-01-02 15:04", f[1])
		if err != nil {
			t.Fatal(err)
		}
		// 4,000 events are some 67 minutes of the stream.
		if late := at.Sub(change); late < -time.Minute || late > 67*time.Minute {
			t.Errorf("a drift at %s, the change is at %s", at, change)
		}
		tasks[f[2]] = true
	}
	if len(tasks) != 4 || len(found) != 4 {
		t.Errorf("drifts %v, expected one of each of 4 tasks", found)
	}
	if !strings.Contains(text, "the stream changed at event 200,000, 2026-01-03 07:33") {
		t.Errorf("no word of the change:\n%s", text)
	}
}

func TestDemoRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--stream", "nothing"}, `--stream "nothing": expected flights or drift`},
		{[]string{"--rate", "-1"}, "--rate -1: expected 0 or more"},
		{[]string{"--for", "-1s"}, "--for -1s: expected a length of time such as 20s"},
		{[]string{"extra"}, "unknown command"},
	} {
		var errs bytes.Buffer
		if code := execute(t.Context(), append([]string{"demo"}, c.args...), io.Discard, &errs); code != exitInput || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%v: exit %d, %s", c.args, code, errs.String())
		}
	}
}

// TestGeneratedStream pins the first events of a seed and the share of labels.
func TestGeneratedStream(t *testing.T) {
	p, err := loadDemo("drift", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := p.Sources[0]
	read := func(seed uint64, limit int) *batch.Batch {
		r, err := openGenerated("", s, demoOptions{seed: seed}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		all := batch.New(s.Schema)
		for {
			if _, err := r.Read(t.Context(), all, limit); err == io.EOF {
				return all
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	one, other := read(1, 7), read(1, 400)
	if one.N != 1000 || other.N != 1000 {
		t.Fatalf("%d and %d events", one.N, other.N)
	}
	for i := range one.Cols {
		for row := range one.N {
			if a, b := one.Cols[i].AppendText(nil, row), other.Cols[i].AppendText(nil, row); !bytes.Equal(a, b) {
				t.Fatalf("row %d depends on how many are read at once: %s and %s", row, a, b)
			}
		}
	}
	if a, b := one.Col("a").Floats[0], read(2, 100).Col("a").Floats[0]; a == b {
		t.Error("the seed makes no difference")
	}
	// Before the middle y goes with a, behind it against.
	agree := [2]int{}
	for row := range one.N {
		if one.Col("y").Bools[row] == (one.Col("a").Floats[row] > 0) {
			agree[row/500]++
		}
	}
	if agree[0] < 350 || agree[1] > 150 {
		t.Errorf("y agrees with a %d times of 500 before the middle and %d behind", agree[0], agree[1])
	}
	// splitmix64 from seed 1234567, as published with the xoshiro generators.
	dice := splitmix(1234567)
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821} {
		if got := dice.next(); got != want {
			t.Errorf("number %d: %d, want %d", i, got, want)
		}
	}
}

// picture is a snapshot with something in every place.
func picture() *demoSnapshot {
	day := func(m time.Month, d, h int) time.Time { return time.Date(2013, m, d, h, 30, 0, 0, time.UTC) }
	s := &demoSnapshot{Stream: "flights", Question: "arrives more than 15 minutes late?", Broker: "127.0.0.1:40000",
		ReadAlong: "kcat -b 127.0.0.1:40000 -t flights.predictions -C -X isolation.level=read_committed", URL: "http://127.0.0.1:8080",
		Topic: "flights.predictions", Elapsed: 75 * time.Second, Total: 327_346, Sent: 120_500, Predictions: 119_000, Rows: 118_000, Rejected: 3,
		ChangeAt: -1, Rate: 19_871.4, Mean: 19_900, P50: 61 * time.Millisecond, P99: 118 * time.Millisecond,
		Rates: []float64{0, 10_000, 20_000, 19_000, 20_000}, Lags: []float64{2000, 1000, 0, 500},
		Scores: []demoScore{{"accuracy", 0.81234, 0.71859, true, []float64{0.7, 0.75, 0.8, 0.82, 0.79}}, {"log loss", 0.43123, 0.87991, true, []float64{0.69, 0.5, 0.45, 0.43, 0.48}}},
		Drifts: []demoDrift{{3, 35_615, day(4, 22, 18)}, {0, 3935, day(1, 16, 16)}, {1, 9407, time.Time{}}, {0, 7711, day(1, 31, 18)}},
	}
	for i, phase := range []string{"live", "replay", "live", "failed"} {
		s.Tasks = append(s.Tasks, demoTask{Task: i, Phase: phase, Step: uint64(80 * i), Rows: int64(40_000 * i), Partitions: "[" + strconv.Itoa(i) + "] 40,000 of 41,000"})
		if i > 0 {
			s.Tasks[i].Event = day(5, 6, 7+i)
		}
	}
	return s
}

// TestDemoPictures compares what is drawn with golden files, and its size with
// the terminal's.
func TestDemoPictures(t *testing.T) {
	empty := &demoSnapshot{Stream: "drift", Question: "labels change their meaning halfway", Broker: "127.0.0.1:1", ReadAlong: "kcat -b 127.0.0.1:1 -t t -C -X a=b",
		Total: 400_000, ChangeAt: -1, Scores: []demoScore{{Name: "accuracy"}, {Name: "log loss"}}}
	ending := picture()
	ending.Stopping = "the stream is played; the last events are processed"
	for _, c := range []struct {
		name          string
		s             *demoSnapshot
		width, height int
		color         bool
	}{
		{"80x24", picture(), 80, 24, false},
		{"120x40", picture(), 120, 40, false},
		{"color", picture(), 80, 24, true},
		{"small", picture(), 40, 12, false},
		{"empty", empty, 80, 24, false},
		{"ending", ending, 80, 24, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines := renderDemo(c.s, c.width, c.height, c.color)
			if len(lines) > c.height {
				t.Errorf("%d lines on %d", len(lines), c.height)
			}
			for _, l := range lines {
				plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(l, "")
				if n := utf8.RuneCountInString(plain); n > c.width {
					t.Errorf("%d characters on %d: %s", n, c.width, plain)
				}
				if !c.color && plain != l {
					t.Errorf("colour without colour: %q", l)
				}
			}
			golden(t, filepath.Join("testdata", "demo-"+c.name+".txt"), strings.Join(lines, "\n")+"\n")
		})
	}
	golden(t, filepath.Join("testdata", "demo-line.txt"), renderDemoLine(picture())+"\n"+renderDemoLine(empty)+"\n"+renderDemoLine(ending)+"\n")
	changed := picture()
	changed.ChangeAt = 60_000
	golden(t, filepath.Join("testdata", "demo-summary.txt"), renderDemoSummary(picture())+renderDemoSummary(empty)+renderDemoSummary(changed))
}

func TestSparkline(t *testing.T) {
	for _, c := range []struct {
		values []float64
		width  int
		zero   bool
		want   string
	}{
		{nil, 5, false, ""},
		{[]float64{1}, 5, false, "▁"},
		{[]float64{2, 2, 2}, 5, false, "▁▁▁"},
		{[]float64{2, 2, 2}, 5, true, "███"},
		{[]float64{0, 0}, 5, true, "▁▁"},
		{[]float64{0, 1, 2, 3, 4, 5, 6, 7}, 8, false, "▁▂▃▄▅▆▇█"},
		{[]float64{9, 0, 1, 2, 3, 4, 5, 6, 7}, 8, false, "▁▂▃▄▅▆▇█"},
		{[]float64{100, 107}, 8, false, "▁█"},
	} {
		if got := sparkline(c.values, c.width, c.zero); got != c.want {
			t.Errorf("%v: %s, want %s", c.values, got, c.want)
		}
	}
	if got := bar(0.5, 4) + bar(0, 2) + bar(1, 2) + bar(2, 1) + bar(-1, 1); got != "██░░░░███░" {
		t.Error(got)
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestDemoViewGivesTheTerminalBack looks at what a terminal is told.
func TestDemoViewGivesTheTerminalBack(t *testing.T) {
	var out bytes.Buffer
	v := newDemoView(&out, true)
	v.show(picture())
	v.show(picture())
	v.close()
	v.close()
	v.show(picture())
	text := out.String()
	for _, once := range []string{screenOpen, screenClose} {
		if n := strings.Count(text, once); n != 1 {
			t.Errorf("%q %d times", once, n)
		}
	}
	if !strings.HasSuffix(text, screenClose) || strings.Count(text, cursorHome) != 2 {
		t.Errorf("the end: %q", text[len(text)-40:])
	}
}
